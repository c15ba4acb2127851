"""The operation that counts the events of a metric."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec

from klaviyo_relay_worker.sandbox import aggregates, filters, pages, resources
from klaviyo_relay_worker.sandbox.aggregate_bodies import (
    DIMENSIONS,
    AggregateAttributes,
    AggregateQuery,
)
from klaviyo_relay_worker.sandbox.aggregates import Dimensions, Range, Row
from klaviyo_relay_worker.sandbox.decoding import decode_body, whole
from klaviyo_relay_worker.sandbox.errors import Refusal, invalid, not_found
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.filters import Condition
from klaviyo_relay_worker.sandbox.ledger import Event
from klaviyo_relay_worker.sandbox.times import instant, years_after

_query = whole(AggregateQuery)
_dimensions = msgspec.json.Decoder(Dimensions)

_ATTRIBUTES = "/data/attributes"
_FILTER = f"{_ATTRIBUTES}/filter"
_CURSOR = "page_cursor"
_MIN_ROWS = 500
_YEARS_BACK = 5
_UNSUPPORTED_ZONES = ("Factory", "Europe/Kyiv", "Pacific/Kanton")

_EVENT_FILTERS: filters.Allowed = {
    "datetime": frozenset({"single:greater-or-equal", "single:less-than"}),
    **dict.fromkeys(DIMENSIONS, frozenset({"single:equals", "list:any"})),
}


class Shown(NamedTuple):
    """One page of rows, and where the next one begins."""

    rows: list[tuple[Dimensions, Row]]
    following: str | None


def query_aggregates(call: Call) -> Answer:
    """POST /api/metric-aggregates.

    Dates are answered in UTC, whatever the time zone of the query (Klaviyo OpenAPI up to
    2024-06-15 says so, answers recorded in 2023 and 2026 show it).
    """
    asked = decode_body(_query, call.body).attributes
    _refuse_unusual(asked)
    conditions = _conditions(asked.filter)
    span = _span(asked, conditions, call.store.clock())
    starts = span.starts()
    wanted = [one for one in conditions if one.field != "datetime"]
    # Events do not change once recorded, so counting needs no lock.
    found = aggregates.rows(_events(call, asked.metric_id), span, starts, asked.by or (), wanted)
    shown = _page(found, call.parameter(_CURSOR) or asked.page_cursor, asked.page_size)
    rows = [(dimensions, row.measurements(asked.measurements)) for dimensions, row in shown.rows]
    identifier = str(zlib.crc32(call.body))  # a number, as recorded; Klaviyo's means nothing either
    data = resources.metric_aggregate(call, identifier, starts, rows)
    return answer(200, {"data": data, "links": _links(call, shown.following)})


def _refuse_unusual(asked: AggregateAttributes) -> None:
    """Refuse what the schema has room for and Klaviyo does not take."""
    if not asked.measurements:
        raise invalid("At least one measurement is required.", f"{_ATTRIBUTES}/measurements")
    if asked.sort is not None:  # recorded
        raise invalid("unsupported operand type(s) for +", f"{_ATTRIBUTES}/sort")
    if asked.page_size is not None and asked.page_size < _MIN_ROWS:  # recorded
        raise invalid(f"A page has at least {_MIN_ROWS} rows.", f"{_ATTRIBUTES}/page_size")


def _conditions(texts: Sequence[str]) -> list[Condition]:
    """All conditions of all filters; a parser's refusal names the query, but this is a body."""
    try:
        return [one for text in texts for one in filters.parse(text, _EVENT_FILTERS)]
    except Refusal as refused:
        raise invalid(refused.faults[0].detail, _FILTER) from None


def _span(asked: AggregateAttributes, conditions: list[Condition], now: float) -> Range:
    """The range of time, which must be given, within a year and begin at most five years ago.

    So says Klaviyo OpenAPI up to 2024-06-15. Later ones are silent on it: that Klaviyo still
    refuses what is longer or older is assumed, and so is the status. Also assumed: a time without
    an offset is in the time zone of the query.
    """
    zone = _zone(asked.timezone or "UTC")
    since = _bound(conditions, "greater-or-equal", zone)
    until = _bound(conditions, "less-than", zone)
    if not since < until <= years_after(since, 1):
        raise invalid(
            "The time range must span at most one year, and end after it begins.", _FILTER
        )
    if since < years_after(now, -_YEARS_BACK):
        raise invalid("The time range must begin at most five years ago.", _FILTER)
    return Range(since, until, asked.interval or "day", zone)


def _bound(conditions: list[Condition], operator: str, zone: tzinfo) -> float:
    named = [one for one in conditions if (one.field, one.operator) == ("datetime", operator)]
    moment = instant(named[0].values[0], zone) if len(named) == 1 else None
    if moment is None:
        raise invalid(f"One {operator}(datetime,…) with an ISO 8601 time is required.", _FILTER)
    return moment


def _zone(name: str) -> tzinfo:
    """A time zone of the IANA database, but for the few that Klaviyo does not know.

    UTC is known even where there is no database. The exceptions are those of the schema.
    """
    if name == "UTC":
        return UTC
    try:
        if name not in _UNSUPPORTED_ZONES:
            return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown, no name of a zone, a folder of zones
        pass
    raise invalid(f"'{name}' is not a valid time zone.", f"{_ATTRIBUTES}/timezone")


def _events(call: Call, metric_id: str) -> list[Event]:
    """The events of a metric. What Klaviyo answers for an unknown one is not known."""
    with call.store.open():
        if call.store.ledger.metric(metric_id) is None:
            raise not_found("metric", metric_id, f"{_ATTRIBUTES}/metric_id")
        return [one for one in call.store.ledger if one.metric_id == metric_id]


def _page(found: dict[Dimensions, Row], cursor: str | None, size: int | None) -> Shown:
    """The rows after the one that the cursor names; rows come in the order of their dimensions."""
    after = _decoded(cursor) if cursor else None
    left = [item for item in found.items() if after is None or item[0] > after]
    shown = left[: size or _MIN_ROWS]
    return Shown(shown, _encoded(shown[-1][0]) if len(left) > len(shown) else None)


def _encoded(dimensions: Dimensions) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(dimensions)).decode()


def _decoded(cursor: str) -> Dimensions:
    try:
        return _dimensions.decode(base64.urlsafe_b64decode(cursor))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        raise invalid("The cursor is not valid.", f"{_ATTRIBUTES}/{_CURSOR}") from None


def _links(call: Call, following: str | None) -> dict[str, str | None]:
    """As for other pages, but that the cursor has another name; it may also go into the body."""
    found = pages.links(call, None)
    if following is not None:
        query = {name: values[-1] for name, values in call.request.query.items()}
        query[_CURSOR] = following
        found["next"] = f"{call.request.origin}{call.request.path}?{urlencode(query)}"
    return found
