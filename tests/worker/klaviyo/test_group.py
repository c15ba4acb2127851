"""What all groups of reads do: many names, pages as they are needed, and going on."""

from __future__ import annotations

from itertools import islice

from klaviyo_relay_worker import limits


def test_ten_thousand_and_one_names_are_spread_over_requests(reader, account):
    ids = {account.person(f"p{at}@shop.io") for at in (0, 99, 100, 10_000)}
    found = reader.profiles.all(emails=(f"p{at}@shop.io" for at in range(10_001)))
    assert {one.id for one in found} == ids
    assert account.requests_to(limits.GET_PROFILES) == 101


def test_pages_are_asked_for_as_they_are_needed(reader, account):
    for at in range(205):
        account.person(f"p{at:03}@shop.io")
    found = reader.profiles.all()
    assert account.requests_to(limits.GET_PROFILES) == 0
    assert len(list(islice(found, 100))) == 100
    assert account.requests_to(limits.GET_PROFILES) == 1
    assert len(list(found)) == 105
    assert account.requests_to(limits.GET_PROFILES) == 3


def test_a_read_goes_on_where_another_one_left_off(reader, account):
    for at in range(205):
        account.person(f"p{at:03}@shop.io")
    first = reader.profiles.all()
    page = next(first.pages())
    rest = reader.profiles.all(cursor=first.cursor)
    emails = [one.email for one in [*page, *rest]]
    assert emails == [f"p{at:03}@shop.io" for at in range(205)]
    assert rest.cursor is None
