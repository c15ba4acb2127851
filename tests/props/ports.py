"""Ports for servers that cannot be told to pick one themselves."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import suppress

HOST = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections (Linux 32768-60999, see
# ip_local_port_range in ip(7); macOS and IANA 49152-65535): one of those can be taken by any client
# between our look and the server's. And below those that klaviyo_relay_worker.embedded takes.
PORTS = range(10_000, 20_000)
_PROCESSES_MOST = 10
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody on this machine had a moment ago, and that nobody else here is given.

    Of several servers that are started together none has bound its port when the next one looks. So
    each of pytest's processes has ports of its own, and gives each one away once.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = PORTS[process % _PROCESSES_MOST :: _PROCESSES_MOST]
    while len(_given) < len(ports):
        port = secrets.choice(ports)
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("this process has given away all its ports")
