"""The pace: as many as the rate allows, in order, none left out."""

from __future__ import annotations

import click
import pytest

from klaviyo_relay_worker.cli.pace import Pace, rate_of


class Time:
    """Goes on when somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def hand_out(rate, *pages):
    time = Time()
    pace = Pace(rate, time.clock, time.sleep)
    return [(time.now - 1000.0, part) for page in pages for part in pace.parts(page)]


def test_without_a_rate_a_page_goes_at_once():
    assert hand_out(None, [1, 2, 3], [4]) == [(0.0, [1, 2, 3]), (0.0, [4])]


def test_nothing_is_handed_out_before_its_time_and_nothing_is_left_out():
    parts = hand_out(50.0, list(range(120)), list(range(120, 131)))
    assert [one for _, part in parts for one in part] == list(range(131))
    done = 0
    for when, part in parts:
        assert when == pytest.approx(done / 50.0)
        assert len(part) <= 10
        done += len(part)


def test_a_slow_rate_goes_one_by_one():
    assert hand_out(0.5, ["a", "b", "c"]) == [(0.0, ["a"]), (2.0, ["b"]), (4.0, ["c"])]


@pytest.mark.parametrize(
    ("text", "rate"), [("50", 50), ("50/s", 50), ("600/m", 10), ("36/h", 0.01)]
)
def test_a_rate_is_so_many_in_a_time(text, rate):
    assert rate_of(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "0", "0/s", "-1", "1/d", "fast", "1e9", "\u0661/s/"])
def test_anything_else_is_no_rate(text):
    with pytest.raises(click.BadParameter, match="must be a rate"):
        rate_of(text)
