"""Instants: epoch seconds inside the sandbox, ISO 8601 text on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo

Clock = Callable[[], float]
"""Gives the present instant in epoch seconds; tests pass one that they turn by hand."""


class AccountClock:
    """The clock of one account: another one with an offset, and held still where need be.

    While a call that is recorded is processed the clock stands, so that a replay at the recorded
    instant does the very same. The store's lock guards that.
    """

    def __init__(self, base: Clock) -> None:
        """Go with `base`."""
        self._base = base
        self._held: float | None = None
        self.offset_seconds = 0.0

    def __call__(self) -> float:
        """The present instant in epoch seconds."""
        return self._base() + self.offset_seconds if self._held is None else self._held

    @contextmanager
    def held(self, instant: float | None = None) -> Iterator[float]:
        """Stand still at `instant`, by default the present one, which is given."""
        self._held = self() if instant is None else instant
        try:
            yield self._held
        finally:
            self._held = None


YEAR_SECONDS = 365 * 24 * 3600
EARLIEST_EVENT = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
"""Events must lie after 1990 (Klaviyo OpenAPI 2026-07-15, create_event `time`)."""


def iso(instant: float) -> str:
    """`instant` (epoch seconds) as Klaviyo prints it: whole seconds, UTC, with an offset."""
    return datetime.fromtimestamp(int(instant), UTC).isoformat()


def iso_or_none(instant: float | None) -> str | None:
    """As `iso`, for an instant that may not have come yet."""
    return None if instant is None else iso(instant)


def instant(text: str, zone: tzinfo = UTC) -> float | None:
    """Epoch seconds of an extended ISO 8601 text; None when it is something else.

    `fromisoformat` alone also reads digit runs such as 20261122, which nobody means as a
    time; the dashes tell those apart. A text without an offset is in `zone`.
    """
    if text[4:5] != "-" or text[7:8] != "-":
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        return moment.timestamp()
    except OverflowError:  # year 1 or 9999 with an offset
        return None


def years_after(instant: float, years: int) -> float:
    """The same day so many years later, or earlier; 29 February may become 28 February."""
    day = datetime.fromtimestamp(instant, UTC)
    try:
        return day.replace(year=day.year + years).timestamp()
    except ValueError:
        return day.replace(year=day.year + years, day=28).timestamp()
