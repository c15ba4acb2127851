"""Batch loads: many commands straight into Redis, with backpressure and without the spool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from klaviyo_relay.backoff import Backoff
from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import new_ids, wrap
from klaviyo_relay.errors import (
    BackpressureError,
    InvalidCommandError,
    MarkFellBackError,
    RedisUnavailableError,
)
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.lane_entrance import (
    BATCH_COMMANDS,
    LaneEntrance,
    Shipped,
    Survey,
    batches,
)
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.sources import LOAD, unique
from klaviyo_relay.trace_context import current_trace

CHUNK_COMMANDS = BATCH_COMMANDS
_WAIT_FIRST_SECONDS, _WAIT_MOST_SECONDS = 0.05, 2.0


class Enqueued(NamedTuple):
    """What a batch load did.

    Attributes:
        given: commands read from the iterable.
        added: commands that were new to Redis; fewer where the same source was loaded before.
    """

    given: int
    added: int


class Entrance(Protocol):
    """What a load needs of a `LaneEntrance`."""

    def survey(self) -> Survey:
        """State of Redis."""

    def mark(self, lane: str, source: str) -> int:
        """The last number of `source` that a lane has, or 0."""

    def ship(
        self, lane: str, source: str, numbered: Sequence[tuple[int, bytes]], left_at: int = 0
    ) -> Shipped:
        """Put (number, message) pairs into a lane, unless it has them of `source` already."""

    def close(self) -> None:
        """Close the connections."""


class _Chunk:
    """Consecutive commands of a load, by lane, each with its offset."""

    def __init__(self, account: str, *, bulk: bool) -> None:
        self._account = account
        self._bulk = bulk
        self._trace = current_trace()
        self.lanes: dict[str, list[tuple[int, bytes]]] = {}

    def add_all(self, numbered: list[tuple[int, Command]]) -> InvalidCommandError | None:
        """Add commands up to one that is none or too large, and say what is wrong with it."""
        at = time.time_ns() // 1_000_000
        try:
            for identity, (offset, command) in zip(new_ids(len(numbered)), numbered, strict=True):
                self._add(identity, at, offset, command)
        except InvalidCommandError as error:
            return error
        return None

    def _add(self, identity: str, at: int, offset: int, command: Command) -> None:
        lane, message = wrap(command, identity, self._account, at, self._trace, bulk=self._bulk)
        self.lanes.setdefault(lane, []).append((offset, message))


def entrance_of(settings: Settings) -> Entrance:
    """A new connection to the lanes; it connects when it is first used."""
    return LaneEntrance(connect(settings.redis_url), settings.keys, settings.lane_max_bytes)


def enqueue_many(
    entrance: Entrance,
    settings: Settings,
    commands: Iterable[Command],
    *,
    account: str,
    bulk: bool,
    source: str | None,
    timeout: float | None,
) -> Enqueued:
    """See `Producer.enqueue_many`; closes the entrance."""
    loading = Loading(entrance, _source(source), timeout, settings)
    given = 0
    try:
        remaining = _numbered(commands)
        while numbered := _next_commands(remaining):
            chunk = _Chunk(account, bulk=bulk)
            error = chunk.add_all(numbered.commands) or numbered.error
            for lane, pairs in chunk.lanes.items():
                loading.ship(lane, pairs)
            given += len(numbered.commands)
            if error is not None:
                raise error
        return Enqueued(given, loading.added)
    finally:
        entrance.close()


def _source(name: str | None) -> str:
    return unique(LOAD) if name is None else LOAD + name


def _numbered(commands: Iterable[Command]) -> Iterator[tuple[int, Command]]:
    try:
        return iter(enumerate(commands, 1))
    except TypeError as error:
        kind = type(commands).__name__
        raise InvalidCommandError(
            "commands", f"must be an iterable of commands, not {kind}"
        ) from error


class _Read(NamedTuple):
    commands: list[tuple[int, Command]]
    error: Exception | None


def _next_commands(remaining: Iterable[tuple[int, Command]]) -> _Read | None:
    """The next chunk; what the caller's iterable raises comes after the commands before it."""
    found: list[tuple[int, Command]] = []
    try:
        # One by one: `extend` would lose what came before an error.
        for pair in islice(remaining, CHUNK_COMMANDS):
            found.append(pair)  # noqa: PERF402 - one by one
    except Exception as error:  # noqa: BLE001 - the caller's own, raised again once the rest is safe
        return _Read(found, error)
    return _Read(found, None) if found else None


class Loading:
    """One load on its way into Redis, chunk by chunk.

    Attributes:
        marks: lane -> the last number of this source that it has, as far as this load knows.
        added: commands that were new to Redis.
    """

    def __init__(
        self,
        entrance: Entrance,
        source: str,
        timeout: float | None,
        settings: Settings,
        *,
        marks: Mapping[str, int] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Begin at nothing, or where an earlier run left off.

        Args:
            timeout: most seconds to wait in one go; None for no limit.
            marks: what an earlier run of the same source left behind.
            tell: called before each wait, with its reason; may raise to give up.
        """
        self._entrance = entrance
        self._source = source
        self._timeout = timeout
        self._address = masked(settings.redis_url)
        self._tell = tell
        self.marks = dict(marks or {})
        # What Redis itself said last.
        self._taken: dict[str, int] = {}
        self.added = 0

    def ship(self, lane: str, pairs: list[tuple[int, bytes]]) -> None:
        """Ship, waiting for a Redis that is away or full; what landed is never added twice."""
        for batch in batches(pairs):
            self._ship_batch(lane, batch)

    def _ship_batch(self, lane: str, pairs: Sequence[tuple[int, bytes]]) -> None:
        import_whole("redis.exceptions")
        from redis.exceptions import RedisError

        began, backoff = time.monotonic(), Backoff(_WAIT_FIRST_SECONDS, _WAIT_MOST_SECONDS)
        is_in_doubt = False
        while True:
            try:
                return self._ship_once(lane, pairs, is_in_doubt=is_in_doubt)
            except MarkFellBackError as error:
                raise RedisUnavailableError(f"{error}; load again", self.added) from error
            except BackpressureError as error:
                reason: RedisUnavailableError = BackpressureError(str(error), self.added)
            except (RedisError, OSError) as error:
                is_in_doubt = True
                reason = RedisUnavailableError(f"cannot reach {self._address}: {error}", self.added)
            if self._timeout is not None and time.monotonic() - began > self._timeout:
                raise reason
            if self._tell is not None:
                self._tell(str(reason))
            time.sleep(backoff.wait())

    def _ship_once(
        self, lane: str, pairs: Sequence[tuple[int, bytes]], *, is_in_doubt: bool
    ) -> None:
        if self._entrance.survey().is_full:
            raise BackpressureError
        if lane not in self._taken:
            self._taken[lane] = self._entrance.mark(lane, self._source)
        shipped = self._entrance.ship(lane, self._source, pairs, self.marks.get(lane, 0))
        added = shipped.added
        if is_in_doubt:  # a call before may have added some, though its answer was lost
            added = sum(self._taken[lane] < number <= shipped.mark for number, _ in pairs)
        self.added += added
        self.marks[lane] = self._taken[lane] = shipped.mark
