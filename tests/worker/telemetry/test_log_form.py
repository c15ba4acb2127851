"""The form of log lines: one JSON object a line or words for people, and nothing breaks out."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings

import pytest

from klaviyo_relay_worker.telemetry import log_form
from klaviyo_relay_worker.telemetry.event import DeliveryAttempted, Telemetry
from klaviyo_relay_worker.telemetry.log import KEYS, log

# A line feed, a carriage return, a terminal's escape sequence, other ends of lines, a forged line.
NASTY = [
    "x\n2026-01-01T00:00:00Z [critical ] all is lost",
    'x\r\n{"event": "forged"}',
    "x\x1b[2J\x1b]0;title\x07",
    "x\u2028y\u2029z\x85\x0b\x0c",
    'x"}\n{"event": "forged", "a": "',
    "x\x00",
    "x\ud800",
]


@pytest.fixture
def said():
    """Configures logging into a text, and puts back what was there before."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook)
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace")

    def configure(form, level="debug"):
        log_form.configure(form, level, stream)

        def read():
            stream.flush()
            return stream.buffer.getvalue().decode()

        return read

    yield configure
    logging.captureWarnings(capture=False)
    root.handlers[:], level, sys.excepthook, threading.excepthook = before
    root.setLevel(level)


def attempted(**more):
    given = {
        "account": "default", "lane": "events", "endpoint": "POST /api/events", "items": 2,
        "status": 202, "seconds": 0.25, "outcome": "answered", **more,
    }  # fmt: skip
    return DeliveryAttempted(**given)


def test_a_canonical_event_is_its_name_and_its_fields(said):
    read = said("json")
    Telemetry(log).tell(attempted(traces=("00-x",), host="a.klaviyo.com"))
    line = json.loads(read())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "delivery.attempted", "level": "info", "logger": "klaviyo_relay_worker.delivery",
        "account": "default", "lane": "events", "endpoint": "POST /api/events", "items": 2,
        "status": 202, "seconds": 0.25, "outcome": "answered",
    }  # fmt: skip
    assert set(line) - {"event", "level", "logger"} <= set(KEYS)


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("form", ["console", "json"])
def test_no_value_breaks_out_of_its_line(said, form, text):
    read = said(form)
    logging.getLogger("a").warning("first %s", text)
    Telemetry(log).tell(attempted(account=text))
    logging.getLogger("a").warning("last")
    lines = read().splitlines()
    assert len(lines) == 3
    assert "\x1b" not in read()
    if form == "json":
        assert [json.loads(line)["event"] for line in lines] == [
            f"first {text}", "delivery.attempted", "last"
        ]  # fmt: skip


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_has_no_values_of_variables_and_cannot_forge_a_line(said, form):
    read = said(form)
    secret = "ada@" + "lovelace.dev"

    def fail(address):
        raise RuntimeError("broken\nforged line")

    try:
        fail(secret)
    except RuntimeError:
        logging.getLogger("a").exception("it failed")
    text = read()
    assert secret not in text
    assert "in fail" in text
    if form == "json":
        [line] = text.splitlines()
        assert json.loads(line)["exception"].startswith("Traceback")
    else:
        first, *others = text.splitlines()
        assert "it failed" in first
        assert all(line.startswith("  | ") for line in others)


def test_what_others_add_to_their_records_stays_out(said):
    read = said("json")
    logging.getLogger("celery.app.trace").info("done", extra={"data": {"kwargs": "ada@shop.io"}})
    assert "data" not in json.loads(read())


def test_warnings_and_ends_of_threads_are_lines_too(said):
    read = said("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("a warning", stacklevel=1)

    def fail():
        raise RuntimeError("gone")

    thread = threading.Thread(target=fail, name="a thread")
    thread.start()
    thread.join()
    first, second = (json.loads(line) for line in read().splitlines())
    assert first["logger"] == "py.warnings"
    assert (second["event"], second["level"]) == ("the thread a thread has ended", "error")
    assert "gone" in second["exception"]


def test_a_terminal_gets_words_and_anything_else_json():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert log_form.form_for(Terminal()) == "console"
    assert log_form.form_for(io.StringIO()) == "json"
