"""The server: accepts connections, answers on each in turn, or breaks them on purpose."""

from __future__ import annotations

import http.server
import socket
import socketserver
import struct
import threading
from typing import Any

from .control import PREFIX, Control
from .errors import Refusal, document
from .exchange import Answer, Request
from .reception import Delivery, Reception
from .state import State
from .wire import message, read_head, read_request

_LINGER_NOT = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends a reset instead of an orderly end."""
_BUFFER_BYTES = 65_536


class SandboxServer(http.server.ThreadingHTTPServer):
    """A thread for each connection; all end with the process."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], state: State) -> None:
        """Listen at `address` (host, port; 0: any free one)."""
        self.state = state
        self._reception = Reception(state)
        self._control = Control(state)
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Connection)

    def server_bind(self) -> None:
        """Bind without asking the DNS for our name, as http.server would."""
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port

    def answer(self, request: Request) -> Delivery:
        """Answer a request to the API or to the control endpoints."""
        if request.path.startswith(PREFIX):
            return Delivery(self._control.handle(request))
        return self._reception.handle(request)

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


class _Connection(socketserver.StreamRequestHandler):
    """One connection: a request and its answer, again and again."""

    disable_nagle_algorithm = True
    rbufsize = _BUFFER_BYTES
    server: SandboxServer

    def handle(self) -> None:
        """Serve until the client goes; its going in mid-air is no error of ours."""
        try:
            while self._exchange():
                pass
        except ConnectionError:
            return

    def _exchange(self) -> bool:
        """Read and answer one request; False when the connection is to end."""
        try:
            head = read_head(self.rfile)
            if head is None:
                return False
            request = read_request(head, self.rfile, self.wfile)
        except Refusal as refused:
            answer = Answer(refused.status, document(refused.status, refused.faults))
            return self._deliver(Delivery(answer), last=True)
        return self._deliver(self.server.answer(request), last=not head.keep_alive)

    def _deliver(self, delivery: Delivery, *, last: bool) -> bool:
        """Send an answer, or have the connection reset; says whether it goes on."""
        if delivery.answer is None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            return False
        whole = message(delivery.answer, last=last)
        if delivery.seconds_per_byte:
            self._drip(whole, delivery.seconds_per_byte)
        else:
            self.wfile.write(whole)
        return not last

    def _drip(self, whole: bytes, seconds_per_byte: float) -> None:
        for at in range(len(whole)):
            self.wfile.write(whole[at : at + 1])
            if self.server.state.stopping.wait(seconds_per_byte):
                return
