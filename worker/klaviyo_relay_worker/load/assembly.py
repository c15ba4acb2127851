"""Assembly: the cells of a row become the arguments of a command, by the roles of their columns.

An empty cell, of text or of a database, is absent: it neither sets nor clears anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from operator import itemgetter
from typing import Any, Protocol

from klaviyo_relay.arrow_columns import Unreadable
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.validation import printable
from klaviyo_relay_worker.load import cells
from klaviyo_relay_worker.load.cells import Convert
from klaviyo_relay_worker.load.roles import Roles, no_use
from klaviyo_relay_worker.load.rows import Patchy

Arguments = dict[str, Any]
# Field's slot: where the cell is, the field, and the conversion, if its cells need any.
_Slot = tuple[int, str, Convert | None]


class Assemble(Protocol):
    """Makes a row's cells the arguments of a command.

    Attributes:
        unseen: columns that the mapping names, and no row had so far.
    """

    @property
    def unseen(self) -> AbstractSet[str]:
        """See above."""

    def __call__(self, row: Any, /) -> Arguments:
        """The arguments."""


def assembler(roles: Roles, columns: Sequence[str] | None, *, is_text: bool) -> Assemble:
    """What assembles rows with these columns, or objects where there are none."""
    if columns is None:
        return _Objects(roles)
    return _Table(roles, columns, is_text=is_text)


class _Table:
    """Rows whose cells always stand in the same order."""

    # Columns that are not there were said before the first row.
    unseen: AbstractSet[str] = frozenset()

    def __init__(self, roles: Roles, columns: Sequence[str], *, is_text: bool) -> None:
        self._width = len(columns)
        self._is_text = is_text
        self._constants = roles.constants
        self._slots: tuple[_Slot, ...] = tuple(_slots(roles, columns, is_text=is_text))
        others = _properties(roles, columns)
        self._names = tuple(columns[at] for at in others)
        self._pick = _picker(others)
        named = [(at, f"properties.{columns[at]}") for at in others]
        key = [(at, column) for at, column in enumerate(columns) if column == roles.key]
        self._used = (*((at, field) for at, field, _ in self._slots), *named, *key)
        self._typed = tuple(
            (name, roles.typed[name]) for name in self._names if name in roles.typed
        )

    def __call__(self, row: Sequence[Any]) -> Arguments:
        """The arguments.

        Raises:
            InvalidCommandError: a cell could not be read, or cannot be converted.
        """
        if len(row) != self._width:
            raise InvalidCommandError(
                "csv", f"has {len(row)} cells, and the header names {self._width} columns"
            )
        if type(row) is Patchy:
            self._check(row)
        arguments = dict(self._constants)
        for at, field, convert in self._slots:
            cell = row[at]
            if cell is not None and cell != "":
                arguments[field] = cell if convert is None else convert(field, cell)
        if self._names and (found := self._properties(row)):
            _merge(arguments, found)
        return arguments

    def _check(self, row: Patchy) -> None:
        """Refuse a cell that could not be read, unless nobody wants it."""
        for at, field in self._used:
            cell = row[at]
            if type(cell) is Unreadable:
                raise InvalidCommandError(field, cell.rule)

    def _properties(self, row: Sequence[Any]) -> Arguments:
        named = zip(self._names, self._pick(row), strict=True)
        found = _present_text(named) if self._is_text else _present(named)
        for name, convert in self._typed:
            if name in found:
                found[name] = convert(f"properties.{name}", found[name])
        return found


class _Objects:
    """Rows that say the names of their cells.

    Attributes:
        unseen: columns that the mapping names, and no row had so far.
    """

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self.unseen = set(roles.named)

    def __call__(self, row: Mapping[str, Any]) -> Arguments:
        """The arguments.

        Raises:
            InvalidCommandError: a cell cannot be converted.
        """
        roles = self._roles
        if self.unseen:
            self.unseen.difference_update(row)
        arguments = dict(roles.constants)
        found: Arguments = {}
        for name, cell in row.items():
            if cell is None or cell == "":
                continue
            if (readings := roles.fields.get(name)) is not None:
                for field, convert in readings:
                    arguments[field] = convert(field, cell)
            elif name not in roles.ignored:
                found[name] = cell
        if found and roles.others != "left out":
            self._take(arguments, found)
        return arguments

    def _take(self, arguments: Arguments, found: Arguments) -> None:
        """Add members that are no field, if the verb takes properties."""
        roles = self._roles
        if roles.others == "refused":
            raise InvalidCommandError(printable(next(iter(found))), no_use(roles.kind, "it"))
        for name, convert in roles.typed.items():
            if name in found:
                found[name] = convert(f"properties.{name}", found[name])
        _merge(arguments, found)


def _slots(roles: Roles, columns: Sequence[str], *, is_text: bool) -> Iterator[_Slot]:
    for at, column in enumerate(columns):
        for field, convert in roles.fields.get(column, ()):
            yield at, field, None if is_text and convert is cells.text else convert


def _present(named: Iterable[tuple[str, Any]]) -> Arguments:
    return {name: cell for name, cell in named if cell is not None and cell != ""}


def _present_text(named: Iterable[tuple[str, Any]]) -> Arguments:
    return {name: cell for name, cell in named if cell}


def _properties(roles: Roles, columns: Sequence[str]) -> list[int]:
    if roles.others != "properties":
        return []
    return [
        at
        for at, name in enumerate(columns)
        if name not in roles.fields and name not in roles.ignored
    ]


def _picker(places: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if len(places) == 1:
        only = places[0]
        return lambda row: (row[only],)
    return itemgetter(*places) if places else lambda _row: ()


def _merge(arguments: Arguments, found: Arguments) -> None:
    """Columns of their own beside a column that holds properties as JSON."""
    given = arguments.get("properties", {})
    # What is no object stays, and the command refuses it.
    if isinstance(given, dict):
        arguments["properties"] = {**given, **found}
