"""What docs/testing.md shows of a failing assertion is what one says."""

from __future__ import annotations

import pytest

from klaviyo_relay import subscribe, track
from klaviyo_relay.testing import capture
from pages import REPOSITORY


def test_the_failure_in_testing_md_is_what_a_failure_says():
    with capture() as relay:
        track("Placed Order", email="ada@lovelace.dev", value=23.99, profile={"first_name": "Ada"})
        subscribe("Y6nRLr", email="ada@lovelace.dev")
    with pytest.raises(AssertionError) as caught:
        relay.assert_tracked("Placed Order", value=24)

    text = (REPOSITORY / "docs" / "testing.md").read_text("utf-8")
    assert f"AssertionError: {caught.value}\n```" in text
