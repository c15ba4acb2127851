"""The client, against real servers on loopback that misbehave in every way we know of."""

from __future__ import annotations

import logging
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import version

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError

from klaviyo_relay_worker.errors import AnswerLostError, NotSentError, TransportError
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.exchange import Request
from waiting import for_a_while

KEY = "pk_secret0123456789"
PERSON = "ada%40lovelace.dev"
SECONDS = 0.6
SLACK = 2.0  # for a busy machine; a time-out a read would take for ever
GET = Request(
    endpoint="GET /api/lists/{id}/profiles", path=f'/api/lists/A/profiles?filter="{PERSON}"'
)
POST = Request(endpoint="POST /api/events", path="/api/events", body=b'{"data":{}}')


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def client_of() -> Iterator[Callable[..., KlaviyoClient]]:
    made: list[KlaviyoClient] = []

    def make(url: str, seconds: float = SECONDS) -> KlaviyoClient:
        made.append(KlaviyoClient(url, KEY, "2026-07-15", seconds))
        return made[-1]

    yield make
    for client in made:
        client.close()


def answers(status: bytes = b"202 Accepted", body: bytes = b"", *headers: bytes):
    lines = (b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers)

    def behave(connection):
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    return behave


def resets(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def closes(connection):
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def is_silent(_connection):
    """Half-open: the connection stands, nothing comes."""


def talks_nonsense(connection):
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    connection.close()


def breaks_off(connection):
    connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 500\r\n\r\nhalf")
    closes(connection)


def drips(head: bytes):
    def behave(connection):
        connection.sendall(head)
        for _ in range(250):
            connection.sendall(b"x")
            time.sleep(0.02)

        connection.close()

    return behave


BODY_DRIPS = drips(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n")
HEAD_DRIPS = drips(b"HTTP/1.1 202 Accepted\r\nX-Long: ")
BODY_WITHOUT_LENGTH_DRIPS = drips(b"HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n")
CHUNKS_DRIP = drips(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n")


@pytest.mark.parametrize(
    "behave",
    [
        resets, closes, is_silent, talks_nonsense, breaks_off,
        BODY_DRIPS, HEAD_DRIPS, BODY_WITHOUT_LENGTH_DRIPS, CHUNKS_DRIP,
    ],
    ids=[
        "reset", "closed", "silent", "nonsense", "half an answer",
        "body drips", "head drips", "body without length drips", "chunks drip",
    ],
)  # fmt: skip
@pytest.mark.parametrize("request_", [GET, POST], ids=["get", "post"])
def test_a_lost_answer_is_said_within_the_total_deadline(serve, client_of, behave, request_):
    server = serve(behave)
    began = time.monotonic()
    with pytest.raises(AnswerLostError):
        client_of(server.url).send(request_)
    assert time.monotonic() - began < SECONDS + SLACK
    assert len(server.received) == 1, "the client must never send again by itself"


def test_a_refused_connection_is_not_sent(client_of):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotSentError):
        client_of(f"http://127.0.0.1:{port}").send(POST)


def test_an_unknown_host_is_not_sent(client_of):
    with pytest.raises(NotSentError):
        client_of("http://no-such-host.invalid").send(POST)


def test_a_connection_that_hangs_is_not_sent_within_the_deadline(client_of):
    # A listener whose queue is full: Linux leaves further connections without an answer.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex(listener.getsockname())
        began = time.monotonic()
        with pytest.raises(NotSentError):
            client_of(url_of(listener)).send(POST)
        assert time.monotonic() - began < SECONDS + SLACK
        for one in waiting:
            one.close()


@pytest.mark.parametrize(
    "status",
    [b"200 OK", b"302 Found", b"400 Bad", b"401 No", b"404 No", b"429 Slow", b"500 Oh", b"503 No"],
)
def test_every_answer_is_data(serve, client_of, status):
    server = serve(answers(status, b'{"a":1}', b"Retry-After: 7", b"Location: http://x.invalid/"))
    answer = client_of(server.url).send(POST)
    assert (answer.status, answer.body) == (int(status[:3]), b'{"a":1}')
    assert answer.headers["retry-after"] == "7"
    assert len(server.received) == 1


def test_a_request_carries_key_revision_type_and_body(serve, client_of):
    server = serve(answers())
    client_of(server.url + "/").send(POST)
    head, _, body = server.received[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /api/events http/1.1"
    assert b"authorization: klaviyo-api-key " + KEY.encode() in lines
    assert b"revision: 2026-07-15" in lines
    assert b"user-agent: klaviyo-relay/" + version("klaviyo-relay").encode() in lines
    assert b"content-type: application/vnd.api+json" in lines
    assert body == POST.body


def test_a_netrc_of_the_machine_is_ignored(serve, client_of, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(answers())
    client_of(server.url).send(GET)
    assert f"Klaviyo-API-Key {KEY}".encode() in server.received[0]


def test_a_kept_connection_that_the_server_closed_is_replaced(serve, client_of, until):
    gone = threading.Event()

    def once(connection):
        answers()(connection)
        closes(connection)
        gone.set()

    server = serve(once)
    client = client_of(server.url)
    for number in (1, 2):
        gone.clear()
        assert client.send(POST).status == 202
        assert gone.wait(5)
        until(lambda n=number: len(server.received) == n)


def test_one_late_request_harms_no_other(serve, client_of, until):
    slow = threading.Event()

    def behave(connection):
        if slow.is_set():
            return
        answers(b"200 OK", b"fast")(connection)

    server = serve(behave)
    client = client_of(server.url)
    results = []

    def late():
        with pytest.raises(AnswerLostError):
            client.send(GET)
        results.append("late")

    slow.set()
    thread = threading.Thread(target=late)
    thread.start()
    until(lambda: server.received)
    slow.clear()
    for _ in for_a_while(SECONDS + 0.3):
        assert client.send(POST).body == b"fast"
    thread.join(10)
    assert results == ["late"]


def kinds_of(kind):
    return {kind}.union(*(kinds_of(one) for one in kind.__subclasses__()))


def foreign(kind):
    """An exception of this kind, whatever its own constructor wants."""
    error = kind.__new__(kind)
    error.args = ("refused",)
    return error


def test_every_exception_of_the_libraries_is_translated(monkeypatch, client_of):
    kinds = kinds_of(requests.RequestException) | kinds_of(HTTPError) | kinds_of(OSError)
    never_left = kinds_of(requests.ConnectTimeout) | kinds_of(NewConnectionError)
    client = client_of("http://127.0.0.1:1")
    found = {}
    for kind in kinds:

        def fail(*_args, kind=kind, **_more):
            raise foreign(kind)

        monkeypatch.setattr(HTTPAdapter, "send", fail)
        with pytest.raises(TransportError) as caught:
            client.send(POST)
        found[kind] = type(caught.value)
    assert found == {k: NotSentError if k in never_left else AnswerLostError for k in kinds}
    assert {ConnectionResetError, requests.exceptions.SSLError, ProtocolError} <= found.keys()


@pytest.mark.parametrize(
    "behave",
    [None, resets, BODY_DRIPS, talks_nonsense],
    ids=["refused", "reset", "drips", "nonsense"],
)
def test_neither_key_nor_person_is_in_an_error(serve, client_of, behave, caplog):
    caplog.set_level(logging.DEBUG)
    if behave is None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            url = url_of(listener)
    else:
        url = serve(behave).url
    client = client_of(url)
    with pytest.raises(TransportError) as caught:
        client.send(GET)
    said = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(client)
    assert KEY not in said
    assert "lovelace" not in said


def test_neither_key_nor_person_is_in_the_log(serve, client_of, caplog):
    caplog.set_level(logging.DEBUG)
    client_of(serve(answers()).url).send(GET)
    assert KEY not in caplog.text
    assert "lovelace" not in caplog.text
