"""Arrow's columns as lists of Python's own values; a cell that Python cannot hold harms no other.

Python has no nanoseconds: they become microseconds. NaN is absent, as in the frames of all
libraries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

_NANOSECONDS = "[ns"
# What to_pylist raises for a cell, with those of pyarrow that derive from them.
_FAILURES = (LookupError, NotImplementedError, OverflowError, ValueError)


class Unreadable(Struct, frozen=True):
    """Stands where a cell could not be read.

    Attributes:
        rule: what is wrong with the cell.
    """

    rule: str


class Cells(NamedTuple):
    """The cells of a column.

    Attributes:
        values: of all rows.
        unreadable: rows, counted from 0, whose cell could not be read.
    """

    values: list[Any]
    unreadable: tuple[int, ...] = ()


def cells_of(column: Any) -> Cells:
    """The cells of an Arrow array."""
    try:
        return Cells(_values(column))
    except _FAILURES:
        values = [_value(column.slice(at, 1)) for at in range(len(column))]
        return Cells(values, tuple(at for at, one in enumerate(values) if type(one) is Unreadable))


def _value(column: Any) -> Any:
    try:
        return _values(column)[0]
    except UnicodeDecodeError:
        return Unreadable("is not UTF-8")
    except _FAILURES:
        return Unreadable("is a value that Python cannot hold, such as a time after the year 9999")


def _values(column: Any) -> list[Any]:
    from pyarrow import types

    # Text is quicker to look at than a type, and the same in all releases.
    if _NANOSECONDS in str(column.type):
        column = column.cast(_in_microseconds(column.type), safe=False)
    found: list[Any] = column.to_pylist()
    if types.is_floating(column.type):
        return [None if cell != cell else cell for cell in found]  # noqa: PLR0124 - NaN alone is not itself
    return found


def _in_microseconds(kind: Any) -> Any:
    """The type with microseconds wherever it has nanoseconds."""
    import pyarrow as pa

    types = pa.types
    if types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz)
    if types.is_time64(kind):
        return pa.time64("us")
    if types.is_duration(kind):
        return pa.duration("us")
    if types.is_dictionary(kind):
        return _in_microseconds(kind.value_type)
    return _nested_in_microseconds(kind) if types.is_nested(kind) else kind


def _nested_in_microseconds(kind: Any) -> Any:
    import pyarrow as pa

    types = pa.types
    if types.is_struct(kind):
        return pa.struct([_field_in_microseconds(kind.field(at)) for at in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(_in_microseconds(kind.key_type), _in_microseconds(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(_field_in_microseconds(kind.value_field), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_field_in_microseconds(kind.value_field))
    return pa.list_(_field_in_microseconds(kind.value_field)) if types.is_list(kind) else kind


def _field_in_microseconds(field: Any) -> Any:
    return field.with_type(_in_microseconds(field.type))
