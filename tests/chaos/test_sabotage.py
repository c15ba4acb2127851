"""Every way of breaking the engine still finds what it breaks."""

from __future__ import annotations

import pytest
import sabotage


@pytest.mark.parametrize("name", sabotage.WAYS)
def test_a_way_of_breaking_the_engine_can_be_applied(name: str) -> None:
    assert sabotage.applicable(name) == ""


def test_a_way_that_finds_nothing_to_break_is_told() -> None:
    assert "KeyError" in sabotage.applicable("no such way")
