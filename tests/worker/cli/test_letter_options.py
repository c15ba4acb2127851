"""What the verbs of dead letters share: moments as people type them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click
import pytest

from klaviyo_relay_worker.cli.letter_options import filter_of, moment


@pytest.fixture
def _elsewhere(monkeypatch):
    """This machine's own zone is not UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-07-15", datetime(2026, 7, 15, tzinfo=UTC)),
        ("2026-07-15T08:00Z", datetime(2026, 7, 15, 8, tzinfo=UTC)),
        ("2026-07-15T08:00+02:00", datetime(2026, 7, 15, 6, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_in_utc(text, wanted):
    assert moment(text) == wanted.timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("90m", 5_400), ("12h", 43_200), ("3d", 259_200)]
)
def test_how_long_ago_is_a_time(text, seconds):
    assert moment(text) == pytest.approx(datetime.now(UTC).timestamp() - seconds, abs=5)


@pytest.mark.parametrize("text", ["", "yesterday", "3w", "-1d", "1e9d", "999999999d"])
def test_anything_else_is_no_time(text):
    with pytest.raises(click.BadParameter, match="must be a time"):
        moment(text)


def test_a_verb_may_be_typed_as_it_is_at_the_command_line():
    assert filter_of({"verb": "add-to-list"}).verb == "add_to_list"
    assert filter_of({"verb": None}).is_empty
