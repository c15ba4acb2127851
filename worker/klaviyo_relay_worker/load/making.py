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

import msgspec

from klaviyo_relay.commands import VERBS, Command, Track
from klaviyo_relay.envelope import Envelope, encode, lane_of
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.producer import commands_of
from klaviyo_relay_worker.load.assembly import Arguments, Assemble
from klaviyo_relay_worker.load.rejects import Refusal
from klaviyo_relay_worker.load.rows import Broken, Row

CommandsOf = Callable[[Any, int], Sequence[Command]]
# Row -> the id of its commands.
IdOf = Callable[[Any, int], str]
# Where in a UUID the digit stands that says 8, 9, a or b: free for us to tell two commands apart.
_VARIANT = 19


class Made(NamedTuple):
    """What became of a chunk of rows.

    Attributes:
        lanes: lane -> (row's number, message).
        refusals: of the rows that became nothing.
        commands: how many there are.
    """

    lanes: dict[str, list[tuple[int, bytes]]]
    refusals: list[Refusal]
    commands: int


def mapped(kind: type[Command], assemble: Assemble, unique_id_of: IdOf | None) -> CommandsOf:
    """Makes one command a row, as the mapping says."""

    def make(row: Any, _number: int) -> tuple[Command]:
        return (kind(**_complete(kind, assemble(row))),)

    def make_event(row: Any, number: int) -> tuple[Command]:
        arguments = assemble(row)
        if "unique_id" not in arguments and unique_id_of is not None:
            arguments["unique_id"] = unique_id_of(row, number)
        return (kind(**_complete(kind, arguments)),)

    return make_event if kind is Track else make


def _complete(kind: type[Command], arguments: Arguments) -> Arguments:
    for name in _REQUIRED[kind]:
        if name not in arguments:
            raise InvalidCommandError(name, "is required, and the cell is empty")
    return arguments


_REQUIRED: dict[type[Command], tuple[str, ...]] = {
    kind: tuple(one.name for one in msgspec.structs.fields(kind) if one.required)
    for kind in VERBS.values()
}


def ready(unique_id_of: IdOf, *, live: bool) -> CommandsOf:
    """Takes rows that are commands already: the verb, and the arguments of its method."""

    def make(row: Any, number: int) -> Sequence[Command]:
        arguments = dict(row)
        verb = arguments.pop("verb", None)
        if type(verb) is not str:
            raise InvalidCommandError("verb", "is missing; or say --as VERB for all rows")
        if verb == "track":
            arguments.setdefault("unique_id", unique_id_of(row, number))
            if not live:
                arguments.setdefault("backfill", True)
            if not isinstance(arguments.get("profile"), Mapping | None):
                raise InvalidCommandError("profile", "must be an object")
        return commands_of(verb, arguments)

    return make


class Maker:
    """Makes the messages of a load.

    Attributes:
        lanes: kind -> the lane of its commands, as far as there were any.
        counts: kind -> commands made.
        bytes: of their messages.
    """

    def __init__(self, commands_of: CommandsOf, id_of: IdOf, account: str, *, bulk: bool) -> None:
        self._commands_of = commands_of
        self._id_of = id_of
        self._account = account
        self._bulk = bulk
        self.lanes: dict[type[Command], str] = {}
        self.counts: dict[type[Command], int] = {}
        self.bytes = 0

    def make(self, rows: Sequence[Row], before: int) -> Made:
        """The messages of a chunk.

        Args:
            rows: line and cells.
            before: number of rows before it.
        """
        lanes: dict[str, list[tuple[int, bytes]]] = {}
        refusals: list[Refusal] = []
        commands = 0
        at = time.time_ns() // 1_000_000
        for number, (line, row) in enumerate(rows, before + 1):
            try:
                messages = self._messages(row, number, at)
            except InvalidCommandError as error:
                refusals.append(_refusal(line, row, error))
                continue
            for lane, message in messages:
                lanes.setdefault(lane, []).append((number, message))
                commands += 1
        return Made(lanes, refusals, commands)

    def _messages(self, row: Any, number: int, at: int) -> list[tuple[str, bytes]]:
        if type(row) is Broken:
            raise InvalidCommandError(row.field, row.reason)
        commands = self._commands_of(row, number)
        identity = self._id_of(row, number)
        if len(commands) == 1:
            return [self._message(identity, commands[0], at)]
        # All are encoded before any is taken: a row becomes all of its commands, or none.
        *before, last = commands
        other = f"{identity[:_VARIANT]}9{identity[_VARIANT + 1 :]}"
        return [
            *(self._message(other, command, at) for command in before),
            self._message(identity, last, at),
        ]

    def _message(self, identity: str, command: Command, at: int) -> tuple[str, bytes]:
        envelope = Envelope(id=identity, account=self._account, at=at, command=command)
        message = encode(envelope)
        kind = type(command)
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.bytes += len(message)
        return self.lanes.get(kind) or self._lane_of(command), message

    def _lane_of(self, command: Command) -> str:
        lane = f"{self._account}:{lane_of(command, bulk=self._bulk)}"
        return self.lanes.setdefault(type(command), lane)


def _refusal(line: int, row: Any, error: InvalidCommandError) -> Refusal:
    if type(row) is Broken:
        return Refusal(line, error.field, error.rule, row.text)
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


def key_reader(column: str, columns: Sequence[str] | None) -> Callable[[Any], str]:
    """Reads the key of a row."""
    place: Any = column if columns is None else columns.index(column)

    def key_of(row: Any) -> str:
        cell = row.get(place) if columns is None else row[place]
        if cell is None or cell == "":
            raise InvalidCommandError(column, "is the key of the row, and must not be empty")
        return str(cell)

    return key_of
