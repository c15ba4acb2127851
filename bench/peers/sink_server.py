"""A server that takes what segment, posthog and rudder send, and counts it.

    python -m bench.peers.sink_server

It prints its URL. Bodies are JSON with a list `batch`, gzipped or not; each is answered at once.
`GET /count` tells how many items have come.
"""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Sink(ThreadingHTTPServer):
    daemon_threads = True
    lock = threading.Lock()
    items = 0

    def handle_error(self, *_: Any) -> None:
        """A client that was killed leaves its connection broken: nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.server.lock:
            self.server.items += len(json.loads(body)["batch"])
        self._answer(b"{}")

    def do_GET(self) -> None:
        self._answer(str(self.server.items).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


if __name__ == "__main__":
    server = _Sink(("127.0.0.1", 0), _Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()
