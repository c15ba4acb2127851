"""HTTP: reads requests off sockets and writes answers, or breaks connections on purpose."""

from __future__ import annotations

import http.server
import socket
import socketserver
import struct
import threading
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .checks import MAX_BODY_BYTES
from .control import PREFIX, Control
from .exchange import Answer, Request
from .reception import Delivery, Reception
from .state import State

_MEDIA_TYPE = "application/vnd.api+json"
_LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends a reset instead of an orderly end."""
_CHUNK_BYTES = 65_536
_NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class SandboxServer(http.server.ThreadingHTTPServer):
    """A thread for each connection; all end with the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], state: State) -> None:
        """Listen at `address` (host, port; 0: any free one)."""
        self.state = state
        self.reception = Reception(state)
        self.control = Control(state)
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the DNS for our name, as http.server would."""
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port

    def get_request(self) -> tuple[socket.socket, Any]:
        """Remember the connection, so that it can be closed at the end."""
        connection, address = super().get_request()
        with self._open_lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection; one that is to be reset without the usual farewell."""
        if not isinstance(request, socket.socket):  # a datagram's, says the base class
            return
        with self._open_lock:
            self._open.discard(request)
        linger = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, len(_LINGER_NOT))
        if linger == _LINGER_NOT:
            request.close()
        else:
            super().shutdown_request(request)

    def close_connections(self) -> None:
        """End the connections that clients keep alive."""
        with self._open_lock:
            still_open = list(self._open)
        for one in still_open:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its own thread was faster


class _Handler(http.server.BaseHTTPRequestHandler):
    """Speaks HTTP/1.1 on one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = _CHUNK_BYTES
    server: SandboxServer

    def do_GET(self) -> None:
        """Answer any method: the tables behind decide."""
        request = self._request()
        if request is None:
            return
        if request.path.startswith(PREFIX):
            self._deliver(Delivery(self.server.control.handle(request)))
        else:
            self._deliver(self.server.reception.handle(request))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def handle(self) -> None:
        """Serve until the client goes; its going in mid-air is no error of ours."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: bodies and paths hold personal data, and the journal has the rest."""

    def _request(self) -> Request | None:
        if self.headers.get("transfer-encoding"):
            self.close_connection = True
            self._send(Answer(HTTPStatus.LENGTH_REQUIRED), 0.0)
            return None
        length = int(self.headers.get("content-length") or 0)
        too_large = length > MAX_BODY_BYTES
        if too_large:
            self._drain(length)
        body = b"" if too_large else self.rfile.read(length)
        url = urlsplit(self.path)
        query: dict[str, tuple[str, ...]] = {}
        for name, value in parse_qsl(url.query, keep_blank_values=True):
            query[name] = (*query.get(name, ()), value)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, unquote(url.path), query, headers, body, too_large)

    def _drain(self, length: int) -> None:
        """Read a body that is too large away, so that the client gets to read the answer."""
        while length > 0 and (piece := self.rfile.read(min(length, _CHUNK_BYTES))):
            length -= len(piece)

    def _deliver(self, delivery: Delivery) -> None:
        if delivery.answer is None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self.close_connection = True
        else:
            self._send(delivery.answer, delivery.seconds_per_byte)

    def _send(self, answer: Answer, seconds_per_byte: float) -> None:
        """Write head and body in one piece: two would meet Nagle and delayed ACKs."""
        message = self._head(answer) + answer.body
        if not seconds_per_byte:
            self.wfile.write(message)
            return
        for at in range(len(message)):
            self.wfile.write(message[at : at + 1])
            if self.server.state.stopping.wait(seconds_per_byte):
                return

    def _head(self, answer: Answer) -> bytes:
        status = HTTPStatus(answer.status)
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {self.date_time_string()}"]
        if answer.body:
            lines.append(f"Content-Type: {_MEDIA_TYPE}")
        if status not in _NO_BODY:
            lines.append(f"Content-Length: {len(answer.body)}")
        lines += [f"{name}: {value}" for name, value in answer.headers]
        if self.close_connection:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
