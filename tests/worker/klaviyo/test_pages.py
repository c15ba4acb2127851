"""Pages: lazily, to their end, and on our own host."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.errors import NotFoundError, ServerError
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.pages import Pages, next_page

ENDPOINT = "GET /api/things"


def first(path="/api/things?page%5Bsize%5D=2"):
    return Request(endpoint=ENDPOINT, path=path)


class Book:
    """Numbers in pages of two; `asked` are the paths."""

    def __init__(self, last):
        self.last = last
        self.asked = []

    def __call__(self, request):
        self.asked.append(request.path)
        at = int(request.path.partition("cursor%5D=")[2] or 0)
        following = f"https://elsewhere.io/api/things/?page%5Bcursor%5D={at + 2}"
        has_more = at + 2 < self.last
        return {
            "data": list(range(at, min(at + 2, self.last))),
            "links": {"next": following if has_more else None},
        }


def pages(book, *requests, **more):
    return Pages(book, requests or [first()], lambda document: document["data"], **more)


def test_all_items_come_in_order_and_the_last_page_is_the_last_request():
    book = Book(5)
    assert list(pages(book)) == [0, 1, 2, 3, 4]
    assert len(book.asked) == 3


def test_nothing_is_asked_before_the_first_item_is_wanted():
    book = Book(5)
    found = pages(book)
    assert book.asked == []
    assert (next(found), next(found)) == (0, 1)
    assert len(book.asked) == 1
    assert (found.asked, found.cursor) == (1, "2")


def test_a_count_ends_within_a_page_and_asks_for_no_more():
    book = Book(50)
    assert list(pages(book, count=3)) == [0, 1, 2]
    assert len(book.asked) == 2


def test_a_count_that_a_page_fills_asks_for_no_next_one():
    book = Book(50)
    assert list(pages(book, count=4)) == [0, 1, 2, 3]
    assert len(book.asked) == 2


def test_links_lead_to_our_own_host_and_count_as_the_same_endpoint():
    following = next_page(first(), Book(5)(first()))
    assert following == Request(endpoint=ENDPOINT, path="/api/things?page%5Bcursor%5D=2")


@pytest.mark.parametrize("links", [None, {}, {"next": None}, {"next": ""}, "odd", []])
def test_without_a_link_there_is_no_next_page(links):
    assert next_page(first(), {"data": [], "links": links}) is None


def test_a_page_that_leads_to_itself_ends_with_an_error():
    document = {
        "data": [1],
        "links": {"next": "https://a.klaviyo.com/api/things/?page%5Bsize%5D=2"},
    }
    found = pages(lambda _request: document)
    with pytest.raises(ServerError, match="same page"):
        next(found)


def test_several_first_pages_follow_one_another():
    assert list(pages(Book(3), first(), first())) == [0, 1, 2, 0, 1, 2]


def test_an_empty_page_in_the_middle_is_not_the_end():
    documents = [
        {"data": [], "links": {"next": "/api/things?page%5Bcursor%5D=x"}},
        {"data": [7], "links": {"next": None}},
    ]
    assert list(pages(lambda _request: documents.pop(0))) == [7]


def test_only_a_read_that_finds_nothing_at_all_asks_why():
    def explain():
        raise NotFoundError("no such list", 404)

    assert list(pages(Book(1), if_empty=explain)) == [0]
    with pytest.raises(NotFoundError):
        list(pages(Book(0), if_empty=explain))
