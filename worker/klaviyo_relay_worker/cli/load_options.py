"""The options of `klaviyo-relay load` that say what columns are: one for each field of any verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from klaviyo_relay.commands import VERBS
from klaviyo_relay_worker.cli.field_help import FIELD_HELP
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.mapping import FIELDS, Mapping, field_of, read_mapping
from klaviyo_relay_worker.load.roles import flag_of

_PREFIX = "column_of_"
_SHORTCUTS = {"event": "metric", "list_id": "list_id", "list_name": "list_name"}

AnyFunction = Callable[..., Any]


def _column_option(field: str) -> Any:
    return click.option(
        flag_of(field),
        _PREFIX + field,
        metavar="COLUMN",
        hidden=field in _RARE,
        help=FIELD_HELP.get(field, "what was done, such as Placed Order"),
    )


# Not in --help, which would be all columns; docs/load.md tells the rule.
_RARE = frozenset(FIELDS) - {
    "metric", "email", "phone_number", "external_id", "time", "value", "value_currency",
    "unique_id", "list_id", "consented_at", "first_name", "last_name",
}  # fmt: skip

_OTHERS = (
    click.option("--as", "verb", type=click.Choice(list(VERBS)), help="what each row asks for"),
    click.option(
        "--mapping",
        "mapping_file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="TOML file with these options; see docs/load.md",
    ),
    click.option("--event", metavar="NAME", help="metric of all events, such as 'Placed Order'"),
    click.option("--list-id", metavar="ID", help="list for all rows"),
    click.option("--list-name", metavar="NAME", help="list for all rows, by its name"),
    click.option(
        "--set",
        "settings",
        metavar="FIELD=VALUE",
        multiple=True,
        help="a field for all rows, such as value_currency=EUR",
    ),
    click.option("--key-column", "key", metavar="COLUMN", help="knows an event in other files too"),
    click.option(
        "--number-column",
        "numbers",
        metavar="COLUMN",
        multiple=True,
        help="a property whose text is a number",
    ),
    click.option(
        "--boolean-column",
        "booleans",
        metavar="COLUMN",
        multiple=True,
        help="a property whose text is yes or no",
    ),
    click.option(
        "--json-column",
        "json",
        metavar="COLUMN",
        multiple=True,
        help="a property whose text is JSON",
    ),
    click.option("--ignore-column", "ignore", metavar="COLUMN", multiple=True, help="leave it out"),
    click.option("--ignore-others", is_flag=True, help="no column becomes a property by itself"),
    click.option("--time-zone", metavar="ZONE", help="of times without one, e.g. Europe/Berlin"),
    click.option(
        "--live", is_flag=True, help="events may set off flows (else they are marked as backfill)"
    ),
)


def mapping_options(function: AnyFunction) -> AnyFunction:
    """Give a command all options of a mapping."""
    for option in reversed((*_OTHERS, *map(_column_option, FIELDS))):
        function = option(function)
    return function


def mapping_of(given: dict[str, Any]) -> Mapping:
    """Take the options of a mapping out of all that were given.

    Raises:
        UsageFaultsError: --set or --mapping make no sense, or a field has two values.
    """
    path: Path | None = given.pop("mapping_file")
    constants = _settings(given.pop("settings"))
    for name, field in _SHORTCUTS.items():
        value = given.pop(name)
        if value is None:
            continue
        if field in constants:
            flag = f"--{name.replace('_', '-')}"
            raise UsageFaultsError([f"{field} is given twice: by {flag} and by --set"])
        constants[field] = value
    columns = {field: given.pop(_PREFIX + field) for field in FIELDS}
    others = {name: given.pop(name) for name in Mapping.__struct_fields__ if name in given}
    flags = Mapping(
        columns={field: column for field, column in columns.items() if column is not None},
        constants=constants,
        **others,
    )
    return read_mapping(path).updated(flags) if path is not None else flags


def _settings(pairs: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name or not value:
            raise UsageFaultsError([f"--set {pair}: must be FIELD=VALUE"])
        field = field_of(name)
        if field in found:
            raise UsageFaultsError([f"{field} is given twice: by --set"])
        found[field] = value
    return found
