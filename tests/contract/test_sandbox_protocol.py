"""The sandbox speaks HTTP as Klaviyo does: keys, revisions, media types, errors."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from klaviyo_relay_worker.sandbox import Sandbox

BULK = "/api/event-bulk-create-jobs"


@contextmanager
def connection(api: Any) -> Iterator[http.client.HTTPConnection]:
    """A connection that is never opened anew behind one's back."""
    made = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=30)
    made.connect()
    made.auto_open = 0
    try:
        yield made
    finally:
        made.close()


def exchange(kept: http.client.HTTPConnection, api: Any, body: bytes) -> tuple[int, bytes]:
    """Post to /api/events on a given connection; status and body of the answer."""
    known = {str(name): str(value) for name, value in api.session.headers.items()}
    kept.request("POST", "/api/events", body, known)
    answer = kept.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("key", [None, "", "pk_test", "Klaviyo-API-Key sk_test", "Bearer "])
def test_a_missing_or_odd_key_is_refused(api: Any, make: Any, key: str | None) -> None:
    """Only `Klaviyo-API-Key pk_…` and `Bearer …` are keys; all else is 401."""
    answer = api.post("/api/events", make.event(), headers={"Authorization": key})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["code"] == "authentication_failed"


def test_a_missing_revision_is_refused(api: Any, make: Any) -> None:
    """Every operation needs the revision header."""
    answer = api.post("/api/events", make.event(), headers={"revision": None})
    assert answer.status_code == 400


def test_another_media_type_or_encoding_is_refused(api: Any, make: Any) -> None:
    """Form data and compressed bodies are 415."""
    for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
        assert api.post("/api/events", make.event(), headers=headers).status_code == 415


def test_unknown_paths_and_methods_are_told_apart(api: Any) -> None:
    """A path that does not exist is 404, a method that it does not take 405."""
    assert api.call("GET", "/api/nothing").status_code == 404
    assert api.call("DELETE", "/api/events").status_code == 405


def test_a_slash_at_the_end_changes_nothing(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Older clients send one."""
    assert api.post("/api/events/", make.event()).status_code == 202
    assert sandbox.summary()["requests"] == {"POST /api/events": {"202": 1}}


def test_a_body_over_five_megabytes_is_refused(api: Any, make: Any) -> None:
    """5,000,001 bytes are 413, and the connection can be used afterwards."""
    body = json.dumps(make.event()).encode().ljust(5_000_001)
    with connection(api) as kept:
        assert exchange(kept, api, body)[0] == 413
        assert exchange(kept, api, body[:5_000_000])[0] == 202


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"a":' * 5000])
def test_a_broken_body_is_refused(api: Any, body: bytes) -> None:
    """What is no JSON object is 400."""
    answer = api.call("POST", "/api/events", data=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "invalid"


def test_what_is_no_http_is_refused(api: Any) -> None:
    """Chunked bodies are 411, odd lengths too, and nonsense is 400; then the line is cut."""
    for sent, status in (
        (b"POST /api/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /api/events HTTP/1.1\r\nContent-Length: many\r\n\r\n", 411),
        (b"POST /api/events HTTP/1.1\r\nnonsense\r\n\r\n", 400),
        (b"hello\r\n", 400),
    ):
        with connection(api) as kept:
            kept.sock.sendall(sent)
            answer = http.client.HTTPResponse(kept.sock)
            answer.begin()
            assert (answer.status, answer.getheader("Connection")) == (status, "close")


def test_a_client_that_awaits_a_hundred_gets_it(api: Any) -> None:
    """As curl does before it sends a large body."""
    with connection(api) as kept:
        head = "GET /api/lists HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        kept.sock.sendall(head.encode())
        assert kept.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        kept.sock.sendall(b"x")
        assert kept.sock.recv(100).startswith(b"HTTP/1.1 401 ")


def test_accepted_events_have_an_empty_answer(api: Any, make: Any) -> None:
    """202 comes without a body and without a content type."""
    for path, body in (("/api/events", make.event()), (BULK, make.bulk(make.entry()))):
        answer = api.post(path, body)
        assert (answer.status_code, answer.content) == (202, b"")
        assert "Content-Type" not in answer.headers


def test_an_error_has_klaviyos_shape(api: Any, make: Any) -> None:
    """Each error has id, status, code, title, detail, source, links and meta."""
    error = api.post("/api/events", make.event(colour="red")).json()["errors"][0]
    assert set(error) == {"id", "status", "code", "title", "detail", "source", "links", "meta"}
    assert (error["status"], error["code"]) == (400, "invalid")
    assert error["detail"] == "'colour' is not a valid field."
    assert error["source"] == {"pointer": "/data/attributes/colour"}
