"""The log: a line for people, its keys for machines, as loud as it deserves."""

from __future__ import annotations

import logging

import pytest

from klaviyo_relay_worker.telemetry.event import DeliveryAttempted, Settled
from klaviyo_relay_worker.telemetry.log import KEYS, log

ATTEMPT = DeliveryAttempted(
    account="default", lane="events", endpoint="POST /api/events", items=2,
    status=202, seconds=0.123456, outcome="answered", traces=("00-secret",), host="a.klaviyo.com",
)  # fmt: skip


@pytest.fixture
def logged(caplog):
    """Logs an event; gives its record."""
    caplog.set_level(logging.DEBUG)

    def logged(event):
        caplog.clear()
        log(event)
        [record] = caplog.records
        return record

    return logged


def test_a_request_is_one_line_with_the_same_as_keys(logged):
    record = logged(ATTEMPT)
    text = (
        "delivery.attempted default:events POST /api/events items=2 status=202 seconds=0.123"
        " answered"
    )
    assert (record.getMessage(), record.levelno) == (text, logging.INFO)
    found = {name: getattr(record, name) for name in KEYS if hasattr(record, name)}
    assert found == {
        "action": "delivery.attempted", "account": "default", "lane": "events",
        "endpoint": "POST /api/events", "items": 2, "status": 202, "seconds": 0.123,
        "outcome": "answered",
    }  # fmt: skip
    assert record.name == "klaviyo_relay_worker.delivery"


def test_neither_traces_nor_hosts_are_logged(logged):
    record = logged(ATTEMPT)
    assert not any(hasattr(record, name) for name in ("traces", "host", "port", "began_at"))


def test_a_request_that_makes_the_lane_wait_is_a_warning(logged):
    record = logged(
        DeliveryAttempted(
            account="a", lane="l", endpoint="e", items=1, status=0, seconds=1.0, outcome="outage"
        )
    )
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize(
    ("outcome", "cause", "level"),
    [
        ("delivered", "", logging.DEBUG),
        ("following", "", logging.DEBUG),
        ("parked", "unknown_list", logging.INFO),
        ("dropped", "superseded", logging.INFO),
        ("dead", "invalid", logging.WARNING),
    ],
)
def test_what_became_of_commands_is_as_loud_as_it_deserves(logged, outcome, cause, level):
    record = logged(Settled(account="a", lane="l", outcome=outcome, cause=cause, commands=3))
    assert record.getMessage() == f"delivery.settled a:l commands=3 {outcome} {cause}"
    assert (record.levelno, record.action, record.cause) == (level, "delivery.settled", cause)
