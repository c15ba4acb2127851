"""Backoff: bounds for whatever chance says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klaviyo_relay_worker import retry

CHANCES = st.floats(0, 1, exclude_max=True)


@given(st.integers(-3, 10_000), CHANCES)
def test_backoff_stays_between_its_least_and_its_ceiling(failures, chance):
    ceiling = min(60.0, 0.5 * 2.0 ** min(max(failures - 1, 0), 20))
    wait = retry.backoff(failures, chance)
    assert retry.LEAST_SECONDS <= wait <= max(ceiling, retry.LEAST_SECONDS)


@given(st.integers(1, 30), CHANCES)
def test_more_failures_never_wait_less_for_the_same_chance(failures, chance):
    assert retry.backoff(failures, chance) <= retry.backoff(failures + 1, chance)


def test_the_jitter_is_full():
    assert retry.backoff(8, 0.0) == retry.LEAST_SECONDS
    assert retry.backoff(8, 0.999999) == pytest.approx(60.0, rel=1e-4)
    assert retry.backoff(8, 0.5) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("1", 1.0, 1.25),
        ("59", 59.0, 59.25),
        ("0", 0.2, 0.75),
        (None, 0.2, 0.75),
        ("soon", 0.2, 0.75),
        ("-5", 0.2, 0.75),
        ("1.5", 0.2, 0.75),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0, 30.25),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.2, 0.75),
        ("Fri, 21 Oct 2039 07:28:00 GMT", 900.0, 900.25),
        ("Wed, 21 Oct 2026 07:28:30", 0.2, 0.75),
        ("99999999", 900.0, 900.25),
    ],
    ids=[
        "one",
        "almost a minute",
        "zero",
        "none",
        "a word",
        "negative",
        "broken",
        "date",
        "date that is past",
        "hostile date",
        "date without a zone",
        "hostile",
    ],
)
@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_after_throttling_never_waits_less_than_klaviyo_says(retry_after, least, most, chance):
    headers = {"date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    if retry_after is not None:
        headers["retry-after"] = retry_after
    assert least <= retry.after_throttling(headers, 1, lambda: chance) <= most


def test_a_date_counts_by_the_clock_of_whoever_sent_it():
    assert retry.retry_after({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}) == 0.0


@pytest.mark.parametrize("said", [None, "0", "soon"])
def test_where_klaviyo_does_not_say_how_long_each_429_waits_longer(said):
    headers = {} if said is None else {"retry-after": said}
    waits = [retry.after_throttling(headers, failures, lambda: 0.9) for failures in range(1, 10)]
    assert waits == sorted(waits)
    assert waits[-1] > 54
