"""Ports for servers that cannot be told to pick one themselves."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

HOST = "127.0.0.1"
# Below the range from which systems take the ports of outgoing connections (Linux 32768-60999, see
# ip_local_port_range in ip(7); macOS and IANA 49152-65535): one of those can be taken by any client
# between our look and the server's.
PORTS = range(20_000, 30_000)


def free_port() -> int:
    """A port that nobody on this machine had a moment ago."""
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
