"""The table: klaviyo-relay and its peers side by side, a row for each thing that was measured.

A cell begins with the ratio to klaviyo-relay's figure of the same run; then come the median and, in
parentheses, the least and the most of the rounds. A cell that makes no sense is a dash with the
number of a note.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isinf
from typing import NamedTuple

from bench.enqueue import STOPPED_SECONDS
from bench.peers import ALL, BY_NAME, RELAY
from bench.peers.peer import Peer
from bench.stage import Measurement

COLUMNS = tuple(peer for peer in ALL if not peer.is_variant)

NOTHING = "\N{EN DASH}"
NO_REDIS = "It does not use Redis, so nothing is different."
NO_BYTES = "It keeps nothing in Redis."
NO_DELIVERY = "It delivers nothing to Klaviyo: it is here for its calls alone."
NO_VARIANT = "Only Celery's peers have a second kind of worker; klaviyo-relay's has threads."
NO_BACKLOG = (
    "Not measured: what its calls take for a million, in time and in Redis's memory, is beyond a"
    " run of minutes."
)
NOT_INSTALLED = "The package is not installed here."
NOT_RUN = "Not measured in this run."
BLOCKED = f"It blocked or raised: no call succeeded in the {STOPPED_SECONDS} s of the stop."


class Row(NamedTuple):
    """One thing that was measured.

    Attributes:
        what: the measurements' name, or that of those from which the row is reckoned.
        show: the text of a value.
        has_ratio: whether a cell begins with a ratio.
        reckon: what the row has of each value.
        suffix: appended to a peer's name, for rows about another kind of worker.
        is_series: the values are of several backlogs, not of several rounds: all are shown.
    """

    title: str
    what: str
    show: Callable[[float], str]
    has_ratio: bool = True
    reckon: Callable[[float], float] = float
    suffix: str = ""
    is_series: bool = False


def _microseconds(value: float) -> str:
    return f"{value:,.0f} µs" if value >= 10 else f"{value:.1f} µs"


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s"


def _duration(value: float) -> str:
    return f"{value / 3600:.1f} h" if value >= 3600 else f"{value / 60:.1f} min"


def _megabytes(value: float) -> str:
    return f"{value:,.0f} MB"


def _bytes(value: float) -> str:
    return f"{value:,.0f} B"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or not value else f"{value:.1f}"


def _per_cent(value: float) -> str:
    return "0" if value == 0 else f"{value:.1f} %"


ROWS = (
    Row("a call, p50", "p50", _microseconds),
    Row("a call, p99", "p99", _microseconds),
    Row("a call with Redis stopped, p50", "stopped p50", _microseconds),
    Row("a call with Redis stopped, p99", "stopped p99", _microseconds),
    Row("calls lost in kill -9", "lost", _per_cent, has_ratio=False),
    Row("import", "import", _milliseconds),
    Row("bytes in Redis a queued event", "bytes", _bytes),
    Row("idle: call to request, p50", "latency p50", _milliseconds),
    Row("idle: call to request, p99", "latency p99", _milliseconds),
    Row("events a second under Klaviyo's limits", "rate", _count),
    Row("a million events take, at that rate", "rate", _duration, reckon=lambda rate: 1e6 / rate),
    Row("requests a million events", "requests", _count),
    Row("429s a million events", "throttled", _count, has_ratio=False),
    Row("worker's CPU a million events", "cpu", _seconds),
    Row("the same, prefork, 2 processes", "cpu", _seconds, suffix="-prefork"),
    Row("the same, threads, under the limits", "limited cpu", _seconds),
    Row("worker's memory at most", "memory", _megabytes),
    Row("the same, prefork, 2 processes", "memory", _megabytes, suffix="-prefork"),
    Row("CPU an event, at three backlogs", "backlog cpu", _microseconds, is_series=True),
    Row("memory at most, at three backlogs", "backlog memory", _megabytes, is_series=True),
)
_OF_REDIS = ("stopped p50", "stopped p99")
_OF_CALLS = ("p50", "p99", "lost", "import")


class Table:
    """Lays out measurements; notes are numbered as they come up."""

    def __init__(self, measured: Sequence[Measurement]) -> None:
        self._values = {(one.who, one.what): one.values for one in measured}
        self._notes: list[str] = []

    def values(self, peer: Peer, row: Row) -> tuple[float, ...]:
        """Empty if there are none."""
        return tuple(map(row.reckon, self._values.get((peer.name + row.suffix, row.what), ())))

    def text(self) -> str:
        """The table, and its notes below it."""
        head = ["", *(peer.title for peer in COLUMNS)]
        lines = [head, ["---"] + ["---:"] * len(COLUMNS)]
        lines += [[row.title, *(self._cell(peer, row) for peer in COLUMNS)] for row in ROWS]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "\n".join(f"{number}. {note}" for number, note in enumerate(self._notes, 1))
        return f"{table}\n\n{notes}"

    def _cell(self, peer: Peer, row: Row) -> str:
        values = self.values(peer, row)
        if not values:
            return f"{NOTHING}{self._mark(_reason(peer, row))}"
        if row.is_series:
            return " / ".join(map(row.show, values))
        value = middle(values)
        if isinf(value):
            return f"blocked{self._mark(BLOCKED)}"
        return self._ratio(value, peer, row) + row.show(value) + _spread(values, row)

    def _ratio(self, value: float, peer: Peer, row: Row) -> str:
        ours = self.values(RELAY, row._replace(suffix=""))
        if peer is RELAY or not row.has_ratio or not ours:
            return ""
        return f"**{ratio(value, middle(ours))}** · "

    def _mark(self, note: str) -> str:
        if note not in self._notes:
            self._notes.append(note)
        return f"<sup>{self._notes.index(note) + 1}</sup>"


def middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def ratio(value: float, ours: float) -> str:
    """`value` as a multiple of ours: 14x, 0.53x, 1/43."""
    if not ours:
        return NOTHING
    times = value / ours
    if times >= 10:
        return f"{times:,.0f}x"
    return f"{times:.2f}x" if times >= 0.1 or not times else f"1/{1 / times:,.0f}"


def _spread(values: Sequence[float], row: Row) -> str:
    if len(values) == 1 or min(values) == max(values):
        return ""
    return f" ({row.show(min(values))} to {row.show(max(values))})"


def _reason(peer: Peer, row: Row) -> str:
    """Why a cell is empty."""
    if row.suffix and peer.name + row.suffix not in BY_NAME:
        return NO_VARIANT if peer is RELAY else NO_DELIVERY
    if row.what in (*_OF_CALLS, *_OF_REDIS) and not peer.is_installed:
        return NOT_INSTALLED
    if row.what in _OF_REDIS and not peer.uses_redis:
        return NO_REDIS
    return _reason_of_worker(peer, row)


def _reason_of_worker(peer: Peer, row: Row) -> str:
    if row.what == "bytes":
        return NOT_RUN if peer.uses_redis else NO_BYTES
    if row.what not in (*_OF_CALLS, *_OF_REDIS) and not peer.worker:
        return NO_DELIVERY
    return NO_BACKLOG if row.is_series and peer is not RELAY else NOT_RUN
