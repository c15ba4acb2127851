"""Cursor pagination: `page[size]`, `page[cursor]`, `sort` and the links of a page."""

from __future__ import annotations

import base64
import binascii
import heapq
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec

from .errors import bad_parameter
from .exchange import Call

Item = TypeVar("Item")
Position = tuple[float | str, float | str]
"""What an item is sorted by, then something unique."""
Reader = Callable[[Any], Position]
_positions = msgspec.json.Decoder(tuple[float | str, float | str])


class Size(NamedTuple):
    """How long a page is when nothing is asked for, and at most."""

    default: int
    maximum: int
    settable: bool = True


PROFILES = Size(20, 100)
LISTS = Size(10, 10)
EVENTS = Size(200, 1000)
METRICS = Size(200, 200, settable=False)
JOBS = Size(20, 100)


class Page(NamedTuple):
    """A page of items with its links."""

    items: list[Any]
    links: dict[str, str | None]


def page(
    call: Call,
    items: Iterable[Any],
    size: Size,
    orders: Mapping[str, Reader],
    default_order: str,
) -> Page:
    """One page. A cursor holds the last item's position, so that changes skip nothing."""
    descending, read = _order(call, orders, default_order)
    length = _length(call, size)
    after = _cursor(call)
    pick = heapq.nlargest if descending else heapq.nsmallest
    beyond = operator.lt if descending else operator.gt
    try:
        if after is not None:
            items = [item for item in items if beyond(read(item), after)]
        found = pick(length + 1, items, key=read)
    except TypeError:  # the cursor of another order: a number against a text
        raise bad_parameter("The cursor is not valid.", "page[cursor]") from None
    following = read(found[length - 1]) if len(found) > length else None
    return Page(found[:length], links(call, following))


def links(call: Call, following: Position | None) -> dict[str, str | None]:
    """`self`, `next` and `prev`; null where there is none, as recorded answers have it."""
    query = {name: values[-1] for name, values in call.request.query.items()}
    here = f"{call.request.origin}{call.request.path}"
    own = f"{here}?{urlencode(query)}" if query else here
    if following is None:
        return {"self": own, "next": None, "prev": None}
    raw = base64.urlsafe_b64encode(msgspec.json.encode(following)).decode()
    query["page[cursor]"] = raw
    return {"self": own, "next": f"{here}?{urlencode(query)}", "prev": None}


def _order(call: Call, orders: Mapping[str, Reader], default_order: str) -> tuple[bool, Reader]:
    wanted = call.parameter("sort") or default_order
    name = wanted.removeprefix("-")
    if name not in orders:
        raise bad_parameter(f"'{name}' is not a valid field to sort by.", "sort")
    return wanted.startswith("-"), orders[name]


def _length(call: Call, size: Size) -> int:
    given = call.parameter("page[size]")
    if given is None:
        return size.default
    if not size.settable:
        raise bad_parameter("The page size of this resource is fixed.", "page[size]")
    if not given.isdecimal() or not 1 <= int(given) <= size.maximum:
        raise bad_parameter(f"Page size must be between 1 and {size.maximum}.", "page[size]")
    return int(given)


def _cursor(call: Call) -> Position | None:
    given = call.parameter("page[cursor]")
    if not given:
        return None
    try:
        return _positions.decode(base64.urlsafe_b64decode(given))
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, ValueError):
        raise bad_parameter("The cursor is not valid.", "page[cursor]") from None
