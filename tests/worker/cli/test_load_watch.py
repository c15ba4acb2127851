"""What a person sees of a load: each thing once, and spans in words."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.cli.load_watch import TerminalWatch, told_seconds


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "120 min"), (12_600, "3.5 h")],
)
def test_a_span_is_told_in_the_unit_that_fits(seconds, told):
    assert told_seconds(seconds) == told


def test_what_is_said_twice_in_a_row_is_told_once(capsys):
    watch = TerminalWatch()
    for text in ("waiting for Redis", "waiting for Redis", "going on", "waiting for Redis"):
        watch.say(text)
    told = capsys.readouterr().err.splitlines()
    assert told == ["waiting for Redis", "going on", "waiting for Redis"]


def test_without_a_terminal_there_is_no_bar(capsys):
    with TerminalWatch() as watch:
        assert not watch.has_bar
        watch.advance(1, 0.5, None)
    assert capsys.readouterr().err == ""
