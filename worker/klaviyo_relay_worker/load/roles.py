"""Roles: what each column is to a command, worked out once from the mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct
from msgspec.structs import fields

from klaviyo_relay.commands import CHECK_OF_FIELD, Command, Track
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay_worker.load import cells
from klaviyo_relay_worker.load.cells import Convert
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.mapping import Mapping

_TIMES = ("time", "consented_at")
_CONVERSIONS: dict[str, Convert] = {
    "value": cells.number,
    "backfill": cells.boolean,
    "channels": cells.listed,
    "unset": cells.listed,
    "properties": cells.decoded,
    "location": cells.decoded,
    "append": cells.decoded,
    "unappend": cells.decoded,
}
_NEEDED_FLAGS = {"metric": "--event NAME or --event-column COLUMN"}
_FLAGS_OF_CONSTANTS = {"metric": "--event", "list_id": "--list-id", "list_name": "--list-name"}

# A field, and how cells become what it takes.
Reading = tuple[str, Convert]


class Roles(Struct, frozen=True):
    """What columns are to one kind of command.

    Attributes:
        kind: of all commands.
        fields: column -> the fields that it is.
        typed: column -> how its cells are converted, as properties.
        ignored: columns that are left out.
        others: what becomes of a column that is none of these.
        constants: field -> value of all rows.
        key: column that knows a row again, or None.
        named: columns that the mapping names, and that should be there.
    """

    kind: type[Command]
    fields: dict[str, tuple[Reading, ...]]
    typed: dict[str, Convert]
    ignored: frozenset[str]
    others: Literal["properties", "left out", "refused"]
    constants: dict[str, object]
    key: str | None
    named: frozenset[str]


def flag_of(field: str) -> str:
    """The flag that names the column of a field."""
    name = "event" if field == "metric" else field
    return f"--{name.replace('_', '-')}-column"


def roles_of(mapping: Mapping, kind: type[Command], columns: Sequence[str] | None) -> Roles:
    """The roles of all columns.

    Args:
        columns: what there are; None where each row has its own.

    Raises:
        UsageFaultsError: with all that does not fit.
    """
    known = tuple(one.name for one in fields(kind))
    zone, faults = _zone(mapping.time_zone)
    faults += _faults(mapping, kind, known, columns)
    moment = cells.moments(zone)
    constants = _constants(mapping, kind, moment, faults)
    if faults:
        raise UsageFaultsError(faults)
    others: Any = "properties" if "properties" in known else "refused"
    return Roles(
        kind=kind,
        fields=_readings(_all_columns(mapping, known), moment),
        typed={column: convert for _, column, convert in _typed(mapping)},
        ignored=frozenset(mapping.ignore),
        others="left out" if mapping.ignore_others else others,
        constants=constants,
        key=mapping.key,
        named=frozenset(column for _, column in _named(mapping)),
    )


def no_use(kind: type[Command], names: str) -> str:
    """What is said of columns that could only be properties, of a kind that has none."""
    verb = kind.__struct_config__.tag
    return (
        f"{verb} takes no properties, so it has no use for {names}:"
        " --ignore-others leaves out what is no field"
    )


def _readings(columns: dict[str, str], moment: Convert) -> dict[str, tuple[Reading, ...]]:
    """Column -> what it is, from field -> column: one column may be several fields."""
    found: dict[str, tuple[Reading, ...]] = {}
    for field, column in columns.items():
        found[column] = (*found.get(column, ()), (field, _conversion(field, moment)))
    return found


def _conversion(field: str, moment: Convert) -> Convert:
    return moment if field in _TIMES else _CONVERSIONS.get(field, cells.text)


def _typed(mapping: Mapping) -> Iterator[tuple[str, str, Convert]]:
    """Flag, column and conversion, for each column whose text was said to be something else."""
    for flag, some, convert in (
        ("--number-column", mapping.numbers, cells.number),
        ("--boolean-column", mapping.booleans, cells.boolean),
        ("--json-column", mapping.json, cells.decoded),
    ):
        for column in some:
            yield flag, column, convert


def _all_columns(mapping: Mapping, known: Sequence[str]) -> dict[str, str]:
    """Field -> column: those that the mapping names, and those of a field's own name."""
    taken = {*mapping.columns.values(), *mapping.ignore}
    by_themselves = {
        name: name
        for name in known
        if name not in taken and name not in mapping.columns and name not in mapping.constants
    }
    return {**by_themselves, **mapping.columns}


def _constants(
    mapping: Mapping, kind: type[Command], moment: Convert, faults: list[str]
) -> dict[str, object]:
    """What all rows have; what is wrong with it is said once, not for each row."""
    found: dict[str, object] = {"backfill": True} if kind is Track and not mapping.live else {}
    for field in kind.__struct_fields__:
        if field not in mapping.constants:
            continue
        try:
            value = _conversion(field, moment)(field, mapping.constants[field])
            found[field] = CHECK_OF_FIELD[field](field, value)
        except InvalidCommandError as error:
            flag = _FLAGS_OF_CONSTANTS.get(field, f"--set {field}")
            faults.append(f"{flag}: {error.rule}")
    return found


def _faults(
    mapping: Mapping, kind: type[Command], known: Sequence[str], columns: Sequence[str] | None
) -> Iterator[str]:
    verb = mapping.verb
    for field in (*mapping.columns, *mapping.constants):
        if field not in known:
            yield f"{verb} has no field {field}; it has {', '.join(known)}"
    for field in mapping.columns:
        if field in mapping.constants:
            yield f"{field} is given both as a column ({flag_of(field)}) and for all rows"
    if mapping.key is not None and (kind is not Track or "unique_id" in mapping.columns):
        yield "--key-column is for --as track, and not beside --unique-id-column"
    yield from _typed_fields(mapping, known)
    if columns is not None:
        yield from _repeated(columns)
        yield from _unknown_columns(mapping, columns)
        given = _given(mapping, known, columns)
        yield from _lacking_fields(mapping, kind, given, columns)
        yield from _lacking_person(kind, given, columns)
        yield from _lacking_list(mapping, kind, known, given)
        yield from _left_over(mapping, kind, known, columns)


def _named(mapping: Mapping) -> list[tuple[str, str]]:
    """Flag and column, for each column that the mapping names."""
    named = [(flag_of(field), column) for field, column in mapping.columns.items()]
    named += [("--key-column", mapping.key)] if mapping.key is not None else []
    named += [(flag, column) for flag, column, _ in _typed(mapping)]
    return named + [("--ignore-column", column) for column in mapping.ignore]


def _typed_fields(mapping: Mapping, known: Sequence[str]) -> Iterator[str]:
    """Columns that are a field, and that a flag gives another type than the field has."""
    columns = _all_columns(mapping, known)
    for flag, column, convert in _typed(mapping):
        for field in known:
            if columns.get(field) == column and _CONVERSIONS.get(field) is not convert:
                yield f"{flag} is for properties, and the column {column!r} is {field}"


def _repeated(columns: Sequence[str]) -> Iterator[str]:
    for name, many in Counter(columns).items():
        if many > 1:
            yield f"the column {name!r} is there {many} times: give each a name of its own"


def _unknown_columns(mapping: Mapping, columns: Sequence[str]) -> Iterator[str]:
    for flag, column in _named(mapping):
        if column not in columns:
            yield f"{flag}: there is no column {column!r}; there are {_listed(columns)}"


def _given(mapping: Mapping, known: Sequence[str], columns: Sequence[str]) -> set[str]:
    """The fields that have a value in some row."""
    there = {field for field, column in _all_columns(mapping, known).items() if column in columns}
    return there.union(mapping.columns, mapping.constants)


def _lacking_fields(
    mapping: Mapping, kind: type[Command], given: set[str], columns: Sequence[str]
) -> Iterator[str]:
    needed = [one.name for one in fields(kind) if one.required]
    for name in needed:
        if name not in given and name not in kind.identifiers:
            wanted = _NEEDED_FLAGS.get(name, f"{flag_of(name)} COLUMN")
            yield f"{mapping.verb} needs {name}: say {wanted}; there are {_listed(columns)}"


def _lacking_person(kind: type[Command], given: set[str], columns: Sequence[str]) -> Iterator[str]:
    if kind.identifiers and not given.intersection(kind.identifiers):
        flags = ", ".join(flag_of(name) for name in kind.identifiers)
        yield (
            f"no column tells whose row it is: name one with {flags}; there are {_listed(columns)}"
        )


def _lacking_list(
    mapping: Mapping, kind: type[Command], known: Sequence[str], given: set[str]
) -> Iterator[str]:
    needs_list = kind.lane == "lists" and "list_id" in known
    if needs_list and not given & {"list_id", "list_name"}:
        yield f"{mapping.verb} needs a list: say --list-id ID or --list-name NAME"


def _left_over(
    mapping: Mapping, kind: type[Command], known: Sequence[str], columns: Sequence[str]
) -> Iterator[str]:
    if "properties" in known or mapping.ignore_others:
        return
    used = {*_all_columns(mapping, known).values(), *mapping.ignore}
    left = [name for name in columns if name not in used]
    if left:
        yield no_use(kind, _listed(left))


def _zone(name: str | None) -> tuple[ZoneInfo | None, list[str]]:
    if name is None:
        return None, []
    try:
        return ZoneInfo(name), []
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None, [f"--time-zone: {name!r} is unknown here; say one such as Europe/Berlin"]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
