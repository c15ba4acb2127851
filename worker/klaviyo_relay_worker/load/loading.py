"""Loading: rows are read, made into commands and shipped, and it is noted how far that has come.

THE STORY of a load: read a chunk, make its commands, wait until Redis has the chunk before, note
that, ship the chunk. So the note is never ahead of Redis; the lanes ignore what they have already.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec.structs import replace
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.errors import RelayError
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.settings import Settings
from klaviyo_relay.sources import LOAD
from klaviyo_relay_worker.load.checkpoint import Checkpoint, CheckpointFile, Position, Tally
from klaviyo_relay_worker.load.errors import LoadError
from klaviyo_relay_worker.load.making import Made, Maker
from klaviyo_relay_worker.load.order import Order
from klaviyo_relay_worker.load.rejects import RejectFile
from klaviyo_relay_worker.load.shipping import Shipping
from klaviyo_relay_worker.load.sources import ANEW, Source

CHUNK_ROWS = 1_000
_NOTED_EVERY_SECONDS = 1.0


class Watch(Protocol):
    """Who is told how a load goes on."""

    def say(self, text: str) -> None:
        """Something that a person should know; may come from another thread."""

    def advance(self, rows: int, share: float | None, maker: Maker) -> None:
        """So many rows were read, which is this share of all, if anybody knows."""


class Summary(NamedTuple):
    """What a load has done.

    Attributes:
        rows, enqueued, refused: rows read, commands that Redis has, rows that became none; of all
            runs of the load.
        added: commands that were new to Redis in this run.
        resumed_at: rows that an earlier run had done.
        rejects: where the refused rows are told of, if there are any.
    """

    rows: int
    enqueued: int
    refused: int
    added: int
    resumed_at: int
    rejects: Path | None = None


def load(
    order: Order, source: Source, maker: Maker, *, redis: Redis, settings: Settings, watch: Watch
) -> Summary:
    """Load an open source to its end.

    Raises:
        LoadError: too many refused rows, a file that changed, or a place that cannot be written.
        RedisUnavailableError, BackpressureError: after the time-out.
    """
    entrance = LaneEntrance(redis, settings.keys, settings.lane_max_bytes)
    notes = _Notes(order, source)
    begun = notes.find(entrance, watch)
    notes.begin(begun)
    _go_to(begun, source, watch)
    with (
        closing(_rejects_of(order, begun.tally)) as rejects,
        Shipping(
            entrance, begun.source, settings,
            timeout=order.timeout, marks=begun.marks, tell=watch.say,
        ) as shipping,
    ):  # fmt: skip
        run = _Run(
            order, begun=begun, source=source, maker=maker,
            rejects=rejects, shipping=shipping, notes=notes, watch=watch,
        )  # fmt: skip
        return run.to_the_end(entrance)


def _rejects_of(order: Order, tally: Tally) -> RejectFile:
    name, size = tally.rejects_name, tally.rejects_bytes
    return RejectFile(order.rejects_path, with_rows=order.with_rows, name=name, size=size)


def _go_to(begun: Checkpoint, source: Source, watch: Watch) -> None:
    """Behind the rows that an earlier run has done."""
    row = begun.position.row
    if row:
        is_over = begun.is_complete
        watch.say(
            f"all {row:,} rows are in Redis already" if is_over else f"resumed behind row {row:,}"
        )
        source.reader.seek(begun.position)


class _Notes:
    """The checkpoints of a load; of what cannot be read again there are none."""

    def __init__(self, order: Order, source: Source) -> None:
        self._order = order
        self._file = CheckpointFile(order.checkpoint_path) if source.file is not None else None
        name = LOAD + order.source_of(source.content)
        self._fresh = Checkpoint(content=source.content, source=name)
        self._noted_at = time.monotonic()
        self._rejects_name = ""

    def find(self, entrance: LaneEntrance, watch: Watch) -> Checkpoint:
        """Where to begin.

        Raises:
            LoadError: there is no checkpoint but something else, one of another load, or one too
                old to be trusted.
        """
        if self._file is None:
            return self._fresh
        found = self._file.read()
        if found is None or self._order.restart or not self._is_ours(found):
            return self._fresh
        if found.is_in_redis(entrance):
            return found
        if not found.is_trusted(entrance.now()):
            raise LoadError(
                f"{self._file.path} is older than Redis remembers loads: what it tells of may be"
                " delivered long since. --restart loads all rows again"
            )
        watch.say("Redis came back older than the checkpoint: beginning at the first row")
        return self._fresh

    def _is_ours(self, found: Checkpoint) -> bool:
        if found.source == self._fresh.source:
            return True
        if found.is_complete or not found.position.row:
            return False
        if found.content != self._fresh.content:
            changed, follows = "the file has changed", f". {ANEW}"
        else:
            changed = "the mapping, the encoding, the account or the priority is another"
            follows = ""
        raise LoadError(
            f"{changed} since the checkpoint {self._order.checkpoint_path} was written at row"
            f" {found.position.row:,}, and that load has not ended: --restart begins anew with"
            f" what is there now, --checkpoint FILE keeps both{follows}"
        )

    def begin(self, begun: Checkpoint) -> None:
        """Write where it begins: a place that cannot be written is found out before any row."""
        if self._file is not None:
            self._file.write(begun)

    def is_due(self, tally: Tally) -> bool:
        """The last note is old enough for another, or does not know of the reject file yet."""
        is_new = tally.rejects_name != self._rejects_name
        return is_new or time.monotonic() - self._noted_at > _NOTED_EVERY_SECONDS

    def write(self, checkpoint: Checkpoint, rejects: RejectFile) -> None:
        """Note how far Redis has it."""
        if self._file is not None:
            rejects.sync()
            self._file.write(checkpoint)
        self._rejects_name = checkpoint.tally.rejects_name
        self._noted_at = time.monotonic()


class _Run:
    """One run of a load.

    Attributes:
        made: what has been made so far: ahead of Redis by the chunk on its way.
        in_redis: what Redis has.
    """

    def __init__(
        self,
        order: Order,
        *,
        begun: Checkpoint,
        source: Source,
        maker: Maker,
        rejects: RejectFile,
        shipping: Shipping,
        notes: _Notes,
        watch: Watch,
    ) -> None:
        self._order, self._begun = order, begun
        self._source, self._maker = source, maker
        self._rejects, self._shipping = rejects, shipping
        self._notes, self._watch = notes, watch
        self.made = self.in_redis = begun

    def to_the_end(self, entrance: LaneEntrance) -> Summary:
        """All that is left; see `load`. What ends it early leaves a checkpoint, too."""
        try:
            self._load_all(entrance)
        except (RelayError, KeyboardInterrupt):
            with suppress(RedisError):
                self._note(entrance)
            raise
        self._end(entrance)
        return self._summary()

    def _load_all(self, entrance: LaneEntrance) -> None:
        reader = self._source.reader
        row = self._begun.position.row
        while not self._has_too_many() and (rows := reader.read(CHUNK_ROWS)):
            made = self._maker.make(rows, row)
            row += len(rows)
            self._wait()
            if self._notes.is_due(self.in_redis.tally):
                self._note(entrance)
            self._shipping.ship(made.lanes)
            self._count(made, reader.position)
            self._watch.advance(row, reader.share, self._maker)
        self._wait()

    def _wait(self) -> None:
        self._shipping.wait()
        self.in_redis = self.made

    def _count(self, made: Made, position: Position) -> None:
        for refusal in made.refusals:
            self._rejects.add(refusal)
        before = self.made.tally
        tally = Tally(
            before.enqueued + made.commands,
            before.refused + len(made.refusals),
            self._rejects.path.name if self._rejects.size else "",
            self._rejects.size,
        )
        self.made = replace(self.made, position=position, tally=tally)

    def _has_too_many(self) -> bool:
        most = self._order.max_refused
        return most is not None and self.made.tally.refused > most

    def _note(self, entrance: LaneEntrance, *, is_complete: bool = False) -> None:
        checkpoint = replace(
            self.in_redis,
            marks=self._shipping.marks(),
            at=entrance.now(),
            is_complete=is_complete,
        )
        self._notes.write(checkpoint, self._rejects)

    def _end(self, entrance: LaneEntrance) -> None:
        if self._has_too_many():
            self._note(entrance)
            raise LoadError(
                f"stopped behind row {self.made.position.row:,}: {self.made.tally.refused:,} rows"
                f" were refused, see {self._rejects.path}. Give a larger --max-refused to go on"
            )
        self._source.check_unchanged()
        self._note(entrance, is_complete=True)

    def _summary(self) -> Summary:
        tally, row = self.in_redis.tally, self.in_redis.position.row
        added, begun = self._shipping.added, self._begun.position.row
        rejects = self._rejects.path if tally.refused else None
        return Summary(row, tally.enqueued, tally.refused, added, begun, rejects)
