"""Columns: what a table and a CSV file show of each kind of resource.

Those of CSV never change their order; a release may add some at the end. What is nested is JSON in
one column.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A column.

    Attributes:
        name: in the header.
        read: its value, of an item.
    """

    name: str
    read: Callable[[Any], object]

    @property
    def is_whole(self) -> bool:
        """Whether its cells are of no use when they are cut: ids and times."""
        return self.name in _WHOLE


_WHOLE = frozenset(
    (
        "id",
        "profile_id",
        "list_id",
        "date",
        "datetime",
        "timestamp",
        "created",
        "updated",
        "joined_group_at",
    )
)
Columns = tuple[Column, ...]


class Kind(NamedTuple):
    """How a kind of item is shown.

    Attributes:
        table: the columns that a person wants to see.
        csv: all there are.
    """

    table: Columns
    csv: Columns


def attributes(names: str) -> Columns:
    """Columns of the attributes with these names, which stand between spaces."""
    return tuple(Column(name, attrgetter(name)) for name in names.split())


def members(*names: str) -> Columns:
    """Columns of the members with these names of a dictionary."""
    return tuple(Column(name, itemgetter(name)) for name in names)


_CONSENTS = (
    Column("email_consent", lambda one: one.consent("email")),
    Column("sms_consent", lambda one: one.consent("sms")),
)
_INTEGRATION = Column("integration", lambda one: (one.integration or {}).get("name"))

_PROFILE = Kind(
    table=(
        *attributes("id email phone_number first_name last_name"),
        _CONSENTS[0],
        *attributes("updated"),
    ),
    csv=(
        *attributes("id email phone_number external_id first_name last_name organization locale"),
        *attributes("title image created updated last_event_date joined_group_at"),
        *_CONSENTS,
        *attributes("location properties subscriptions more"),
    ),
)
PROFILES = _PROFILE
MEMBERS = _PROFILE._replace(table=(*_PROFILE.table[:-1], *attributes("joined_group_at")))
EVENTS = Kind(
    table=attributes("datetime metric profile_id value event_properties"),
    csv=attributes(
        "id datetime metric metric_id profile_id unique_id value value_currency uuid"
        " event_properties more"
    ),
)
METRICS = Kind(
    table=(*attributes("id name"), _INTEGRATION, *attributes("created")),
    csv=(
        *attributes("id name"),
        _INTEGRATION._replace(name="integration_name"),
        *attributes("created updated integration more"),
    ),
)
LISTS = Kind(
    table=attributes("id name opt_in_process created"),
    csv=attributes("id name opt_in_process created updated profile_count more"),
)
SEGMENTS = Kind(
    table=attributes("id name is_active is_processing updated"),
    csv=attributes(
        "id name is_active is_processing is_starred created updated profile_count definition more"
    ),
)
EXCLUSIONS = Kind(*[attributes("profile_id email reason timestamp list_id")] * 2)
