"""Reads of lists."""

from __future__ import annotations

from klaviyo_relay_worker import limits


def test_lists_are_read_though_ten_fill_a_page(reader, sandbox, account):
    ids = [sandbox.create_list(f"List {at}") for at in range(23)]
    assert [one.id for one in reader.lists.all()] == ids
    assert account.requests_to(limits.GET_LISTS) == 3
    assert reader.lists.get(ids[7]).name == "List 7"
    assert reader.lists.get(ids[7], with_count=True).profile_count == 0
