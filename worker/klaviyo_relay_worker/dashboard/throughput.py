"""Throughput: what each lane delivered in each minute of the last hour.

The lanes count what they deliver, and keep no history. While the dashboard runs it reads these
counts every few seconds and remembers an hour; of the time before it started a lane's journal
tells, as far back as that goes. So a delivery pays nothing for the picture.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from typing import Any

from msgspec import Struct
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.keys import Keys, split
from klaviyo_relay.scripts import script_of

MINUTES = 60
EVERY_SECONDS = 5.0
# The journal is read once a lane, and no further back than so many records.
_PAGE, _PAGES = 1_000, 200

logger = logging.getLogger(__name__)


class _Memory:
    """What is remembered of one lane; minutes are counted from 1970."""

    def __init__(self, total: int, now: float) -> None:
        self.total, self.at = total, now
        self.minutes: defaultdict[int, float] = defaultdict(float)
        # Nothing is known of the minutes before.
        self.known_from = int(now // 60)

    def add(self, total: int, now: float) -> None:
        """Spread what was delivered since the last look evenly over the time since then."""
        first, last = int(self.at // 60), int(now // 60)
        delivered = max(0, total - self.total)
        span = max(now - self.at, 1e-3)
        for minute in range(max(first, last - MINUTES), last + 1):
            part = min(now, (minute + 1) * 60) - max(self.at, minute * 60)
            self.minutes[minute] += delivered * max(part, 0.0) / span
        self.total, self.at = total, now
        for minute in [one for one in self.minutes if one <= last - MINUTES]:
            del self.minutes[minute]

    def hour(self) -> list[int | None]:
        """The last 60 minutes, oldest first; None where nothing is known."""
        last = int(self.at // 60)
        span = range(last - MINUTES + 1, last + 1)
        return [
            None if minute < self.known_from else round(self.minutes.get(minute, 0.0))
            for minute in span
        ]


class Throughput:
    """Remembers an hour of each lane. May be used by several threads."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._past: Any = redis.register_script(script_of("klaviyo_relay_worker.dashboard", "past"))
        self._lanes: dict[str, _Memory] = {}
        self._guard = threading.Lock()

    def sample(self) -> None:
        """Look at the counts of all lanes.

        Raises:
            redis.RedisError: Redis is away.
        """
        names: Any = self._redis.smembers(self._keys.register)
        lanes = sorted(name.decode() for name in names)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        for lane in lanes:
            pipeline.hget(self._keys.lane(*split(lane)).counts, "delivered")
        (seconds, microseconds), *totals = pipeline.execute()
        with self._guard:
            for lane, total in zip(lanes, totals, strict=True):
                self._note(lane, int(total or 0), seconds + microseconds / 1e6)

    def hour(self, lane: str) -> list[int | None]:
        """Commands delivered in each of the last 60 minutes; None where nothing is known."""
        with self._guard:
            memory = self._lanes.get(lane)
        return memory.hour() if memory else [None] * MINUTES

    def _note(self, lane: str, total: int, now: float) -> None:
        memory = self._lanes.get(lane)
        if memory is None or total < memory.total:
            memory = _Memory(total, now)
            self._read_journal(lane, memory)
            self._lanes[lane] = memory
        else:
            memory.add(total, now)

    def _read_journal(self, lane: str, memory: _Memory) -> None:
        journal = self._keys.lane(*split(lane)).journal
        oldest = int(memory.at * 1000) - MINUTES * 60_000
        newest, found, is_whole = str(int(memory.at * 1000)), 0, False
        for _ in range(_PAGES):
            first, *flat = self._past(keys=[journal], args=[newest, oldest, _PAGE])
            if not first:
                is_whole = True
                break
            for minute, number in zip(flat[::2], flat[1::2], strict=True):
                memory.minutes[minute] += number
                found += number
            # The minute that this record is in may have had others before it.
            memory.known_from = int(first.partition(b"-")[0]) // 60_000 + 1
            newest = f"({first.decode()}"
        if is_whole and self._reaches(journal, oldest, found, memory.total):
            memory.known_from = 0

    def _reaches(self, journal: str, oldest: int, found: int, total: int) -> bool:
        """Whether the journal tells of the whole hour: it goes on behind it, or tells of all."""
        return found >= total or bool(self._redis.xrange(journal, max=f"({oldest}", count=1))


class Sampler(threading.Thread):
    """Samples every few seconds until it is closed, whether Redis answers or not."""

    def __init__(self, throughput: Throughput) -> None:
        super().__init__(name="klaviyo-relay-dashboard-sampler", daemon=True)
        self._throughput = throughput
        self._is_over = threading.Event()

    def run(self) -> None:
        """Sample."""
        while not self._is_over.is_set():
            try:
                self._throughput.sample()
            except (RedisError, OSError):
                logger.debug("no sample: Redis does not answer", exc_info=True)
            self._is_over.wait(EVERY_SECONDS)

    def close(self) -> None:
        """End it."""
        self._is_over.set()
        self.join()


class Picture(Struct, frozen=True):
    """An hour as bars of a drawing 60 wide and 20 high.

    Attributes:
        bars: the path of an SVG.
        unknown: minutes at the left of which nothing is known.
        total, peak, latest: commands in the hour, its best minute, the minute that ended last.
    """

    bars: str
    unknown: int
    total: int
    peak: int
    latest: int


def picture(hour: list[int | None]) -> Picture:
    """Draw an hour."""
    known = [number for number in hour if number is not None]
    peak = max(known, default=0)
    bars = [
        f"M{at} 20v-{max(0.7, 20 * number / peak):.1f}h.8V20z"
        for at, number in enumerate(hour)
        if number
    ]
    return Picture("".join(bars), len(hour) - len(known), sum(known), peak, (hour[-2] or 0))
