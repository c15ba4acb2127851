"""Cells: text for eyes and files, without power over a terminal, and as wide as they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from klaviyo_relay_worker.cli.cells import fitted, text_of, width_of

TIME = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_text_is_the_same_every_time():
    berlin = timezone(timedelta(hours=1))
    shown = [text_of(one) for one in (None, "a", 1.0, True, {"a": [None]}, TIME)]
    assert shown == ["", "a", "1.0", "true", '{"a":[null]}', "2026-02-03T04:05:06.000007Z"]
    assert text_of(TIME, is_for_eyes=True) == "2026-02-03 04:05:06Z"
    assert text_of(TIME.replace(microsecond=0, tzinfo=berlin)) == "2026-02-03T04:05:06+01:00"


@pytest.mark.parametrize("text", ["", "plain", "Žižek", "e\u0301" * 9, "長い名前の顧客", "a長b長c"])
@pytest.mark.parametrize("width", [1, 2, 5, 8, 40])
def test_a_cell_has_just_its_width(text, width):
    assert width_of(fitted(text, width)) == width
