"""What the groups of reads have in common: one resource, pages of them, and people among them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from klaviyo_relay_worker.errors import InvalidArgumentError, NotFoundError
from klaviyo_relay_worker.klaviyo import query
from klaviyo_relay_worker.klaviyo.access import Access
from klaviyo_relay_worker.klaviyo.arguments import People, number
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.pages import Ask, Pages, Reading
from klaviyo_relay_worker.klaviyo.resources import AnyResource, read

Item = TypeVar("Item")


class Group:
    """Reads about one kind of resource."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def _one(self, endpoint: str, path: str, argument: str, *, limit: str = "") -> dict[str, Any]:
        """One resource, by the id that an argument gave."""
        ask = self._naming(argument)
        found: dict[str, Any] = ask(Request(endpoint=endpoint, path=path, limit=limit))["data"]
        return found

    def _pages(
        self,
        endpoint: str,
        paths: Iterable[str],
        reading: Reading[Item],
        *,
        count: int | None = None,
        argument: str = "",
        if_empty: Callable[[], object] = lambda: None,
    ) -> Pages[Item]:
        requests = (Request(endpoint=endpoint, path=path) for path in paths)
        ask = self._naming(argument) if argument else self._access.ask
        return Pages(ask, requests, reading, number("count", count), if_empty)

    def _naming(self, argument: str) -> Ask:
        """Asks; what Klaviyo does not know is put down to this argument."""

        def ask(request: Request) -> dict[str, Any]:
            try:
                return self._access.ask(request)
            except NotFoundError as error:
                text = f"{argument}: Klaviyo knows nothing by this id ({error})"
                raise NotFoundError(text, error.status, error.failures) from None

        return ask


def each(kind: type[AnyResource]) -> Reading[AnyResource]:
    """Reads all resources of a document as this kind."""
    return partial(_each, kind)


def _each(kind: type[AnyResource], document: dict[str, Any]) -> Iterator[AnyResource]:
    return (read(kind, one) for one in document["data"])


def once(reading: Reading[Item], key: Callable[[Item], Hashable]) -> Reading[Item]:
    """The same, without what came already: somebody may be found by email and by number."""
    seen: set[Hashable] = set()

    def unseen(document: dict[str, Any]) -> Iterator[Item]:
        for item in reading(document):
            if key(item) not in seen:
                seen.add(key(item))
                yield item

    return unseen


def page_size(most: int, count: int | None) -> int:
    """The longest page, or a shorter one where that is all that is wanted."""
    wanted = number("count", count)
    return most if wanted is None else min(most, wanted)


def paths_of(
    base: str,
    named: People,
    *,
    conditions: Iterable[str] = (),
    cursor: str | None = None,
    **parameters: Any,
) -> Iterator[str]:
    """The first pages of a read of all, or of those who are named, a hundred at a time."""
    always = list(conditions)
    if named and cursor is not None:
        raise InvalidArgumentError("cursor", "belongs to a read of all, not to one of named people")
    if not named:
        return iter([query.path(base, always, page_cursor=cursor, **parameters)])
    return (
        query.path(
            base,
            [query.any_of(field, values[at : at + query.FILTER_MOST]), *always],
            **parameters,
        )
        for field, values in named
        for at in range(0, len(values), query.FILTER_MOST)
    )
