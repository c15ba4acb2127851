"""Frames: the rows of a table as commands, for `enqueue_many` in batch jobs.

    from klaviyo_relay.frames import commands

    orders = commands(
        frame, Track, metric="Placed Order", columns={"email": "customer", "value": "total"}
    )
    Producer().enqueue_many(orders, source="orders-2026-11-25")

A frame is told by what it can do, not by its library, so none has to be installed: what has
`itertuples` (pandas), `iter_rows` (polars), `to_batches` (PyArrow), is a record batch of Arrow or a
reader of some, or is an iterable of mappings (csv.DictReader, database rows).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Generic
from uuid import UUID

from msgspec.structs import fields

from klaviyo_relay.arrow_columns import Unreadable, cells_of
from klaviyo_relay.commands import AnyCommand, construct
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.validation import printable

# Ids that tables often hold as numbers or UUIDs; what else is to be text and is none is a mistake.
_IDS = ("external_id", "profile_id", "anonymous_id", "unique_id")
_ABSENT = ("NAType", "NaTType")  # pandas.NA and pandas.NaT
_ROWS = (
    "must have itertuples, iter_rows or to_batches, or be a RecordBatch, its reader, or an iterable"
    " of mappings"
)

OnRefused = Callable[[int, InvalidCommandError], None]


def commands(
    frame: Any,
    kind: type[AnyCommand],
    *,
    columns: Mapping[str, str] | None = None,
    properties: Sequence[str] | None = None,
    on_refused: OnRefused | None = None,
    **constants: Any,
) -> Iterator[AnyCommand]:
    """The rows of a frame as commands, one by one, as they are asked for.

    A cell that is None, NaN, NaT or NA is absent: it neither sets nor clears anything.

    Args:
        frame: rows with named columns, see above.
        kind: of command, such as `Track`.
        columns: field of the command -> column. A column with the name of a field needs no word.
        properties: columns that become properties, for kinds that have them. Default: all that
            are no field, which a kind without properties refuses; [] leaves them out.
        on_refused: told of each row, counted from 1, that makes no good command, which is then
            left out. Without it the first one raises.
        constants: fields that are the same in all rows, such as metric="Placed Order".

    Raises:
        InvalidCommandError: at once where a column does not exist, is there twice or has no use,
            or a field is unknown; for a row when it is reached, and its field begins with the row:
            "row 17: email".
    """
    names, rows = _rows_of(frame)
    wanted = _Wanted(kind, columns or {}, properties, constants)
    if names is not None:
        wanted.check(names)
    return _commands(wanted, rows, on_refused)


def _commands(
    wanted: _Wanted[AnyCommand], rows: Iterable[Mapping[str, Any]], on_refused: OnRefused | None
) -> Iterator[AnyCommand]:
    for number, row in enumerate(rows, 1):
        try:
            command = wanted.command(row)
        except InvalidCommandError as error:
            if on_refused is None:
                raise InvalidCommandError(f"row {number}: {error.field}", error.rule) from None
            on_refused(number, error)
        else:
            yield command


class _Wanted(Generic[AnyCommand]):
    """Which cells make which members of a command."""

    def __init__(
        self,
        kind: type[AnyCommand],
        columns: Mapping[str, str],
        properties: Sequence[str] | None,
        constants: Mapping[str, Any],
    ) -> None:
        self._kind = kind
        self._constants = constants
        self._fields = [one.name for one in fields(kind)]
        self._columns = columns
        self._properties = properties
        self._taken = {*self._fields, *columns.values()}
        self._has_properties = "properties" in self._fields
        for name in (*columns, *constants):
            if name not in self._fields:
                known = ", ".join(self._fields)
                raise InvalidCommandError(name, f"is unknown; known are {known}")
        if properties and not self._has_properties:
            raise InvalidCommandError("properties", f"{kind.__name__} takes none")

    def check(self, names: Sequence[str]) -> None:
        """Refuse columns that the frame does not have, has twice, or has for nothing."""
        for name, many in Counter(map(str, names)).items():
            if many > 1:
                rule = f"has the column {printable(name)} {many} times; give each a name of its own"
                raise InvalidCommandError("frame", rule)
        wanted = [*self._columns.items(), *(("properties", one) for one in self._properties or ())]
        for field, column in wanted:
            if column not in names:
                there_are = ", ".join(map(printable, names))
                raise InvalidCommandError(
                    field, f"there is no column {printable(column)}; there are {there_are}"
                )
        self._check_use(self._others(names))

    def command(self, row: Mapping[str, Any]) -> AnyCommand:
        """The command of a row."""
        arguments = dict(self._constants)
        for field in self._fields:
            cell = _value(row.get(self._columns.get(field, field)))
            if cell is not None and field not in self._constants:
                arguments[field] = _read(_text(cell) if field in _IDS else cell, field)
        pairs = ((str(name), _value(row.get(name))) for name in self._others(row))
        found = {name: _read(cell, "properties", name) for name, cell in pairs if cell is not None}
        if found:
            self._check_use(found)
            _merge(arguments, found)
        return construct(self._kind, arguments)

    def _others(self, names: Iterable[str]) -> Iterable[str]:
        """The columns that are no field."""
        if self._properties is not None:
            return self._properties
        return [name for name in names if name not in self._taken]

    def _check_use(self, others: Iterable[str]) -> None:
        name = None if self._has_properties else next(iter(others), None)
        if name is not None:
            raise InvalidCommandError(
                printable(name),
                f"{self._kind.__name__} takes no properties, so it has no use for this column;"
                " properties=[] leaves out what is no field",
            )


def _merge(arguments: dict[str, Any], found: dict[str, Any]) -> None:
    """Columns of their own beside a column that holds properties; one that does not is refused."""
    given = arguments.get("properties", {})
    if isinstance(given, Mapping):
        arguments["properties"] = {**given, **found}


def _rows_of(frame: Any) -> tuple[list[str] | None, Iterator[Mapping[str, Any]]]:
    """Names of the columns, where they are known beforehand, and the rows."""
    if hasattr(frame, "itertuples"):
        names = list(frame.columns)
        return names, _named(names, lambda: frame.itertuples(index=False, name=None))
    if hasattr(frame, "iter_rows"):
        names = list(frame.columns)
        return names, _named(names, frame.iter_rows)
    batches = _batches_of(frame)
    if batches is not None:
        names = list(frame.schema.names)
        return names, _named(names, lambda: chain.from_iterable(map(_rows_of_batch, batches)))
    if isinstance(frame, Iterable) and not isinstance(frame, str | bytes | Mapping):
        return None, map(_mapping, frame)
    raise InvalidCommandError("frame", _ROWS)


def _batches_of(frame: Any) -> Iterable[Any] | None:
    """Record batches, if the frame is one of Arrow's: a table or dataset, a reader, or a batch."""
    found: Iterable[Any] | None = None
    if hasattr(frame, "to_batches"):
        found = frame.to_batches()
    elif hasattr(frame, "read_next_batch"):
        found = frame
    elif hasattr(frame, "schema") and hasattr(frame, "to_pylist"):
        found = [frame]
    return found


def _rows_of_batch(batch: Any) -> Iterator[Sequence[Any]]:
    return zip(*(cells_of(column).values for column in batch.columns), strict=True)


def _named(
    names: Sequence[str], rows: Callable[[], Iterable[Sequence[Any]]]
) -> Iterator[Mapping[str, Any]]:
    for row in rows():
        yield dict(zip(names, row, strict=True))


def _mapping(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise InvalidCommandError("frame", _ROWS)
    return row


def _value(cell: Any) -> Any:
    """A cell as a plain value; None where there is none."""
    if type(cell).__module__ == "numpy":
        cell = _of_numpy(cell)
    if (type(cell) is float and math.isnan(cell)) or type(cell).__name__ in _ABSENT:
        return None
    if isinstance(cell, datetime) and type(cell) is not datetime:
        # pandas' Timestamp: Python's own has no nanoseconds, and JSON carries no other.
        return datetime.combine(cell, cell.timetz())
    return cell


def _read(cell: Any, *path: str) -> Any:
    if type(cell) is Unreadable:
        raise InvalidCommandError(".".join(map(printable, path)), cell.rule)
    return cell


def _text(cell: Any) -> Any:
    return str(cell) if type(cell) is int or isinstance(cell, UUID) else cell


def _of_numpy(cell: Any) -> Any:
    """A scalar's value, or an array's as a list."""
    kind = cell.dtype.kind
    # Of nanoseconds numpy makes numbers that say nothing of time.
    return (cell.astype(f"{kind}8[us]") if kind in "mM" else cell).tolist()
