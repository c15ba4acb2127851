"""Making: rows become messages for the lanes, each with an id that is always the same.

The id of a row's command follows from the load and the row's number (or from the row's key), and so
does an event's unique_id: whatever happens twice on the way, Klaviyo keeps one. They are UUIDs of
version 8 (RFC 9562: whatever the maker likes), whose last twelve digits are the row's number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from msgspec.structs import fields

from klaviyo_relay.calls import commands_of
from klaviyo_relay.commands import KINDS, Command, Track
from klaviyo_relay.envelope import Envelope, encode, lane_of
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay_worker.load.assembly import Arguments, Assemble
from klaviyo_relay_worker.load.rejects import Refusal
from klaviyo_relay_worker.load.rows import Broken, Row

# Row -> the id of its commands.
IdOf = Callable[[Any, int], str]
# Where in a UUID the digit stands that says 8, 9, a or b: free for us to tell two commands apart.
_VARIANT = 19


Lanes = dict[str, list[tuple[int, bytes]]]


class Made(NamedTuple):
    """What became of a chunk of rows.

    Attributes:
        lanes: lane -> (row's number, message).
        refusals: of the rows that became nothing.
        commands: how many there are.
    """

    lanes: Lanes
    refusals: list[Refusal]
    commands: int


class Maker:
    """Makes the messages of a load.

    Attributes:
        lanes: kind -> the lane of its commands, as far as there were any.
        counts: kind -> commands made.
        bytes: of their messages, about.
    """

    def __init__(self, id_of: IdOf, account: str, *, bulk: bool) -> None:
        self._id_of = id_of
        self._account = account
        self._bulk = bulk
        self.lanes: dict[type[Command], str] = {}
        self.counts: dict[type[Command], int] = {}
        self.bytes = 0

    @property
    def unseen(self) -> list[str]:
        """Columns that the mapping names, and no row had so far."""
        return []

    def make(self, rows: Sequence[Row], before: int) -> Made:
        """The messages of a chunk.

        Args:
            rows: line and cells.
            before: number of rows before it.
        """
        lanes: Lanes = {}
        refusals: list[Refusal] = []
        at = time.time_ns() // 1_000_000
        for number, (line, row) in enumerate(rows, before + 1):
            if type(row) is Broken:
                refusals.append(Refusal(line, row.field, row.reason, row.text))
                continue
            try:
                self._make_row(lanes, row, number, at)
            except InvalidCommandError as error:
                refusals.append(_refusal(line, row, error))
        # By the first of each lane: to look at all would cost more than the estimate is worth.
        self.bytes += sum(len(lane) * len(lane[0][1]) for lane in lanes.values())
        return Made(lanes, refusals, sum(map(len, lanes.values())))

    def _make_row(self, lanes: Lanes, row: Any, number: int, at: int) -> None:
        """Add the messages of a row.

        Raises:
            InvalidCommandError: none of them was added.
        """
        raise NotImplementedError

    def _lane_of(self, command: Command) -> str:
        return f"{self._account}:{lane_of(command, bulk=self._bulk)}"


class MappedMaker(Maker):
    """Makes one command a row, all of a kind, as a mapping says.

    Args:
        unique_id_of: for events that have none of their own.
    """

    def __init__(
        self,
        kind: type[Command],
        assemble: Assemble,
        unique_id_of: IdOf,
        id_of: IdOf,
        account: str,
        *,
        bulk: bool,
    ) -> None:
        super().__init__(id_of, account, bulk=bulk)
        self._kind = kind
        self._assemble = assemble
        self._unique_id_of = unique_id_of if kind is Track else None
        self._required = _REQUIRED[kind]
        self._lane = ""

    @property
    def unseen(self) -> list[str]:
        """See `Maker.unseen`."""
        return sorted(self._assemble.unseen)

    def make(self, rows: Sequence[Row], before: int) -> Made:
        """See `Maker.make`."""
        made = super().make(rows, before)
        self.counts[self._kind] = self.counts.get(self._kind, 0) + made.commands
        return made

    def _make_row(self, lanes: Lanes, row: Any, number: int, at: int) -> None:
        arguments = self._assemble(row)
        if self._unique_id_of is not None and "unique_id" not in arguments:
            arguments["unique_id"] = self._unique_id_of(row, number)
        try:
            command = self._kind(**arguments)
        except TypeError:
            raise self._lacking(arguments) from None
        identity = self._id_of(row, number)
        message = encode(Envelope(id=identity, account=self._account, at=at, command=command))
        try:
            lanes[self._lane].append((number, message))
        except KeyError:
            self._lane = self.lanes[self._kind] = self._lane_of(command)
            lanes[self._lane] = [(number, message)]

    def _lacking(self, arguments: Arguments) -> InvalidCommandError:
        name = next(name for name in self._required if name not in arguments)
        return InvalidCommandError(name, "is required, and there is none in this row")


_REQUIRED: dict[type[Command], tuple[str, ...]] = {
    kind: tuple(one.name for one in fields(kind) if one.required) for kind in KINDS
}


class ReadyMaker(Maker):
    """Takes rows that are commands already: the verb, and the arguments of its method.

    Args:
        unique_id_of: for events that have none of their own.
        live: events are not marked as backfill where they do not say so themselves.
    """

    def __init__(
        self, unique_id_of: IdOf, id_of: IdOf, account: str, *, bulk: bool, live: bool
    ) -> None:
        super().__init__(id_of, account, bulk=bulk)
        self._unique_id_of = unique_id_of
        self._live = live

    def _make_row(self, lanes: Lanes, row: Any, number: int, at: int) -> None:
        *before, last = self._commands_of(row, number)
        identity = self._id_of(row, number)
        other = f"{identity[:_VARIANT]}9{identity[_VARIANT + 1 :]}"
        # All are encoded before any is taken: a row becomes all of its commands, or none.
        messages = [
            (command, encode(Envelope(id=one, account=self._account, at=at, command=command)))
            for one, command in [*((other, command) for command in before), (identity, last)]
        ]
        for command, message in messages:
            kind = type(command)
            lane = self.lanes.setdefault(kind, self._lane_of(command))
            self.counts[kind] = self.counts.get(kind, 0) + 1
            lanes.setdefault(lane, []).append((number, message))

    def _commands_of(self, row: Mapping[str, Any], number: int) -> Sequence[Command]:
        arguments = dict(row)
        verb = arguments.pop("verb", None)
        if type(verb) is not str:
            raise InvalidCommandError("verb", "is missing; or say --as VERB for all rows")
        if verb == "track":
            # Exporters write null for what they do not have: it is not given, as in all commands.
            if arguments.get("unique_id") is None:
                arguments["unique_id"] = self._unique_id_of(row, number)
            if not self._live and arguments.get("backfill") is None:
                arguments["backfill"] = True
            if not isinstance(arguments.get("profile"), dict | None):
                raise InvalidCommandError("profile", "must be an object")
        return commands_of(verb, arguments)


def _refusal(line: int, row: Any, error: InvalidCommandError) -> Refusal:
    if type(row) is list and not _is_utf8(row):
        rule = "is not of the file's encoding: say what it is with --encoding, such as cp1252"
        return Refusal(line, error.field, rule, row)
    return Refusal(line, error.field, error.rule, row)


def _is_utf8(row: list[Any]) -> bool:
    try:
        "".join(str(cell) for cell in row).encode()
    except UnicodeEncodeError:
        return False
    return True


def numbered(digest: str) -> IdOf:
    """Ids of a load's rows by their numbers.

    Args:
        digest: of the load; at least 19 hexadecimal digits.
    """
    prefix = f"{digest[:8]}-{digest[8:12]}-8{digest[12:15]}-8{digest[15:18]}-"
    return lambda _row, number: f"{prefix}{number:012x}"


def keyed(key_of: Callable[[Any], str], scope: str) -> IdOf:
    """Ids of rows by their keys: the same in every file of the same scope."""

    def identity(row: Any, _number: int) -> str:
        found = blake2b(f"{scope}\n{key_of(row)}".encode(), digest_size=16).hexdigest()
        return f"{found[:8]}-{found[8:12]}-8{found[12:15]}-8{found[15:18]}-{found[18:30]}"

    return identity


def by_key(key_of: Callable[[Any], str]) -> IdOf:
    """The keys themselves, as an event's unique_id."""
    return lambda row, _number: key_of(row)


def key_reader(column: str, columns: Sequence[str] | None) -> Callable[[Any], str]:
    """Reads the key of a row."""
    place: Any = column if columns is None else columns.index(column)

    def key_of(row: Any) -> str:
        cell = row.get(place) if columns is None else row[place]
        if cell is None or cell == "":
            raise InvalidCommandError(column, "is the key of the row, and must not be empty")
        return str(cell)

    return key_of
