import sqlite3
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from klaviyo_relay.complaints import Complaints, is_weather, saying
from klaviyo_relay.errors import BackpressureError


@pytest.fixture
def clock(monkeypatch):
    """Seconds since the machine began; the test turns it."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_trouble_is_told_at_once_even_on_a_machine_that_has_just_begun(clock):
    clock[0] = 1.0

    assert Complaints().is_due()


def test_a_trouble_that_lasts_is_told_once_a_minute(clock):
    complaints = Complaints()
    told = []
    for second in range(150):
        clock[0] = float(second)
        if complaints.is_due():
            told.append(second)

    assert told == [0, 60, 120]


def test_each_trouble_is_told_by_itself(clock):
    one, other = Complaints(), Complaints()

    assert one.is_due()
    assert other.is_due()


@pytest.mark.parametrize(
    "error",
    [RedisConnectionError(), BackpressureError(), ConnectionResetError(), sqlite3.DatabaseError()],
    ids=lambda error: type(error).__name__,
)
def test_what_the_surroundings_do_is_weather(error):
    assert is_weather(error, sqlite3.Error)


@pytest.mark.parametrize("error", [TypeError(), ZeroDivisionError(), sqlite3.DatabaseError()])
def test_what_we_did_ourselves_is_not(error):
    assert not is_weather(error)


def test_a_log_that_fails_ends_nothing_and_says_so_on_the_standard_error(capsys):
    with saying():
        raise OSError("no space left for the log")

    assert "no space left for the log" in capsys.readouterr().err


def test_a_log_that_fails_ends_nothing_without_a_standard_error(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)

    with saying():
        raise OSError("no space left for the log")
