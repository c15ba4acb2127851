#!/usr/bin/env python3
"""Whether the worker of this container lives: exit code 0 if its metrics port answers.

    healthy.py            it answers; a Redis that is away is no reason to restart a worker
    healthy.py --ready    it answers, and so does its Redis

A worker that answers and yet delivers nothing ends itself (KLAVIYO_RELAY_STALL_SECONDS). Nothing
but the standard library is imported, and Klaviyo is not asked, so this may run every few seconds.
"""

from __future__ import annotations

import os
import socket
import sys

# A scrape waits up to four seconds for a Redis that is away.
SECONDS = 8.0
READY = b"\nklaviyo_relay_redis_up 1.0\n"


def scrape(port: int) -> bytes:
    """The metrics, by HTTP without its library, whose import would take most of the time.

    Raises:
        OSError: nobody answers there, or not with metrics.
    """
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as stream:
            head, _, text = stream.read().partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise OSError("no metrics there")
    return text


def main(arguments: list[str]) -> int:
    """Ask; returns the exit code."""
    port = int(os.environ.get("KLAVIYO_RELAY_METRICS_PORT", "9464"))
    try:
        text = scrape(port)
    except OSError as error:
        sys.stderr.write(f"port {port}: {error}\n")
        return 1
    if "--ready" in arguments and READY not in text:
        sys.stderr.write("Redis does not answer\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
