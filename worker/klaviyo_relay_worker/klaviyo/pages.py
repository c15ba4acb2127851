"""Pages: everything that a read finds, asked for page by page as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

from msgspec.structs import replace

from klaviyo_relay_worker.errors import ServerError
from klaviyo_relay_worker.klaviyo.exchange import Request

Item = TypeVar("Item")
Ask = Callable[[Request], dict[str, Any]]
Reading = Callable[[dict[str, Any]], Iterable[Item]]
"""The items in a document."""


class Pages(Iterator[Item], Generic[Item]):
    """An iterator over items; the next page is asked for when the last one is used up.

    Args:
        ask: gives the document that answers a request.
        requests: first pages, one after the other.
        read: the items of a document.
        count: at most so many items; None for all.
        if_empty: called where nothing at all was found; may raise what explains it.

    Attributes:
        cursor: Klaviyo's, of the page after the one last read, by which a later read can go on;
            None before the first page and after the last. Klaviyo's documents do not say how long a
            cursor lasts; a person of Klaviyo's has said about three days (community.klaviyo.com,
            topic 6355).
        asked: how many pages were read.
    """

    def __init__(
        self,
        ask: Ask,
        requests: Iterable[Request],
        read: Reading[Item],
        count: int | None = None,
        if_empty: Callable[[], object] = lambda: None,
    ) -> None:
        self._ask = ask
        self._requests = requests
        self._read = read
        self._left = count
        self._if_empty = if_empty
        self._items = (item for page in self.pages() for item in page)
        self.cursor: str | None = None
        self.asked = 0

    def __iter__(self) -> Pages[Item]:
        """Itself."""
        return self

    def __next__(self) -> Item:
        """The next item; asks Klaviyo where a new page begins."""
        return next(self._items)

    def pages(self) -> Iterator[list[Item]]:
        """The same page by page: handle one, keep `cursor`, and a crash repeats one at most."""
        is_empty = True
        for first in self._requests:
            request: Request | None = first
            while request is not None:
                document = self._ask(request)
                request = self._following(request, document)
                items = self._taken(list(self._read(document)))
                is_empty = is_empty and not items
                yield items
                if self._left == 0:
                    return
        if is_empty:
            self._if_empty()

    def _following(self, request: Request, document: dict[str, Any]) -> Request | None:
        following = next_page(request, document)
        self.asked += 1
        self.cursor = _cursor_of(following)
        return following

    def _taken(self, items: list[Item]) -> list[Item]:
        if self._left is None:
            return items
        del items[self._left :]
        self._left -= len(items)
        return items


def next_page(request: Request, document: dict[str, Any]) -> Request | None:
    """The request for the page after this one, by `links.next`; on our own host, whatever it says.

    Raises:
        ServerError: the next page is this one; following it would never end.
    """
    links = document.get("links")
    url = urlsplit((links.get("next") if isinstance(links, dict) else None) or "")
    if not url.path:
        return None
    # Klaviyo puts a slash at the end of the paths in its links; the quota knows them without.
    following = f"{url.path.rstrip('/')}?{url.query}"
    if following == request.path:
        raise ServerError("Klaviyo's next page is the same page again")
    return replace(request, path=following)


def _cursor_of(request: Request | None) -> str | None:
    if request is None:
        return None
    return parse_qs(urlsplit(request.path).query).get("page[cursor]", [None])[0]
