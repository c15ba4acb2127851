"""Roles: what each column is to a command, worked out once from the mapping."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct
from msgspec.structs import fields

from klaviyo_relay import validation
from klaviyo_relay.commands import Command, Track
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
_CHECKS: dict[str, Convert] = {
    "list_id": validation.list_id,
    "value_currency": validation.currency,
    "time": validation.time,
    "consented_at": validation.past_time,
}
_NEEDED_FLAGS = {"metric": "--event NAME or --event-column COLUMN"}


class Roles(Struct, frozen=True):
    """What columns are to one kind of command.

    Attributes:
        kind: of all commands.
        fields: column -> field and how its cells are converted.
        typed: column -> how its cells are converted, as properties.
        ignored: columns that are left out.
        has_properties: what is none of these becomes a property; otherwise it is left out.
        constants: field -> value of all rows.
        key: column that knows a row again, or None.
        named: columns that the mapping names, and that should be there.
    """

    kind: type[Command]
    fields: dict[str, tuple[str, Convert]]
    typed: dict[str, Convert]
    ignored: frozenset[str]
    has_properties: bool
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
    has_properties = "properties" in known and not mapping.ignore_others
    return Roles(
        kind=kind,
        fields={
            column: (field, moment if field in _TIMES else _CONVERSIONS.get(field, cells.text))
            for field, column in _all_columns(mapping, known).items()
        },
        typed={
            **dict.fromkeys(mapping.numbers, cells.number),
            **dict.fromkeys(mapping.booleans, cells.boolean),
            **dict.fromkeys(mapping.json, cells.decoded),
        },
        ignored=frozenset(mapping.ignore),
        has_properties=has_properties,
        constants=constants,
        key=mapping.key,
        named=frozenset(column for _, column in _named(mapping)),
    )


def _all_columns(mapping: Mapping, known: Sequence[str]) -> dict[str, str]:
    """Field -> column: those that the mapping names, and those of a field's own name."""
    taken = {*mapping.columns.values(), *mapping.ignore, mapping.key}
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
    for field, value in mapping.constants.items():
        convert = moment if field in _TIMES else _CONVERSIONS.get(field, cells.text)
        try:
            found[field] = _CHECKS.get(field, _as_it_is)(field, convert(field, value))
        except InvalidCommandError as error:
            faults.append(f"--{field.replace('_', '-')} (or --set): {error.rule}")
    return found


def _as_it_is(_field: str, value: Any) -> Any:
    return value


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
    if columns is not None:
        yield from _unknown_columns(mapping, columns)
        given = _given(mapping, known, columns)
        yield from _lacking_fields(mapping, kind, given, columns)
        yield from _lacking_person(kind, given, columns)
        yield from _lacking_list(mapping, kind, known, given)
        yield from _left_over(mapping, known, columns)


def _named(mapping: Mapping) -> list[tuple[str, str]]:
    """Flag and column, for each column that the mapping names."""
    named = [(flag_of(field), column) for field, column in mapping.columns.items()]
    named += [("--key-column", mapping.key)] if mapping.key is not None else []
    for flag, some in (
        ("--number-column", mapping.numbers),
        ("--boolean-column", mapping.booleans),
        ("--json-column", mapping.json),
        ("--ignore-column", mapping.ignore),
    ):
        named += [(flag, column) for column in some]
    return named


def _unknown_columns(mapping: Mapping, columns: Sequence[str]) -> Iterator[str]:
    for flag, column in _named(mapping):
        if column not in columns:
            yield f"{flag}: there is no column {column!r}; there are {_listed(columns)}"


def _given(mapping: Mapping, known: Sequence[str], columns: Sequence[str]) -> set[str]:
    """The fields that have a value in some row."""
    by_themselves = {name for name in known if name in columns and name not in mapping.ignore}
    return by_themselves.union(mapping.columns, mapping.constants)


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


def _left_over(mapping: Mapping, known: Sequence[str], columns: Sequence[str]) -> Iterator[str]:
    if "properties" in known or mapping.ignore_others:
        return
    used = {*_all_columns(mapping, known).values(), *mapping.ignore}
    left = [name for name in columns if name not in used]
    if left:
        yield (
            f"{mapping.verb} takes no properties, so it has no use for {_listed(left)}:"
            " leave them out with --ignore-others"
        )


def _zone(name: str | None) -> tuple[ZoneInfo | None, list[str]]:
    if name is None:
        return None, []
    try:
        return ZoneInfo(name), []
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None, [f"--time-zone: {name!r} is unknown here; say one such as Europe/Berlin"]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
