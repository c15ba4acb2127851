"""The mapping: which column becomes which field of which command.

It comes from flags, from a TOML file, or from both; a flag wins over the file. Its digest is part
of a load's identity: the same file under another mapping is another load.
"""

from __future__ import annotations

import tomllib
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from msgspec.structs import fields

from klaviyo_relay.commands import KINDS, VERBS, Command
from klaviyo_relay_worker.load.errors import UsageFaultsError

# In mappings `event` may be said for what the command calls metric.
_ALIASES = {"event": "metric"}
FIELDS: tuple[str, ...] = tuple(dict.fromkeys(one.name for kind in KINDS for one in fields(kind)))


class Mapping(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How rows become commands.

    Attributes:
        verb: what each row asks for; None where each row is a command already (`as` in TOML).
        columns: field -> column.
        constants: field -> the value that all rows have (`set` in TOML).
        key: column that knows a row again in other files, such as an order's number.
        numbers, booleans, json: columns whose text is turned into that, as properties.
        ignore: columns that are left out.
        ignore_others: leave out what would become a property.
        time_zone: name of the zone of times that have none.
        live: events may set off flows; otherwise they are marked as backfill.
    """

    verb: str | None = field(default=None, name="as")
    columns: dict[str, str] = {}
    constants: dict[str, Any] = field(default_factory=dict, name="set")
    key: str | None = None
    numbers: tuple[str, ...] = ()
    booleans: tuple[str, ...] = ()
    json: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    ignore_others: bool = False
    time_zone: str | None = None
    live: bool = False

    @property
    def kind(self) -> type[Command] | None:
        """The kind of all commands, or None where rows say it themselves."""
        return None if self.verb is None else VERBS[self.verb]

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that are others for another mapping."""
        body = msgspec.json.encode(self, order="deterministic")
        return blake2b(body, digest_size=8).hexdigest()

    def updated(self, flags: Mapping) -> Mapping:
        """This mapping, with what flags say beside or instead."""
        return Mapping(
            verb=flags.verb or self.verb,
            columns={**self.columns, **flags.columns},
            constants={**self.constants, **flags.constants},
            key=flags.key or self.key,
            numbers=self.numbers + flags.numbers,
            booleans=self.booleans + flags.booleans,
            json=self.json + flags.json,
            ignore=self.ignore + flags.ignore,
            ignore_others=self.ignore_others or flags.ignore_others,
            time_zone=flags.time_zone or self.time_zone,
            live=self.live or flags.live,
        )


def read_mapping(path: Path) -> Mapping:
    """A mapping from a TOML file.

    Raises:
        UsageFaultsError: no TOML, or nothing that a mapping has.
    """
    try:
        found = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Mapping)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageFaultsError([f"--mapping {path}: {error}"]) from None
    if found.verb is not None and found.verb not in VERBS:
        raise UsageFaultsError([f"--mapping {path}: as must be one of {', '.join(VERBS)}"])
    return msgspec.structs.replace(
        found,
        columns=_by_field(f"--mapping {path}: columns", found.columns),
        constants=_by_field(f"--mapping {path}: set", found.constants),
    )


def field_of(name: str) -> str:
    """The field that a mapping means by a name."""
    return _ALIASES.get(name, name)


def _by_field(place: str, given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        field = field_of(name)
        if field in found:
            names = sorted(one for one in given if field_of(one) == field)
            raise UsageFaultsError([f"{place}: {' and '.join(names)} are one field"])
        found[field] = value
    return found
