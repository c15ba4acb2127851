"""Reads of lists."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.errors import InvalidArgumentError


def test_lists_are_read_though_ten_fill_a_page(reader, sandbox, account):
    ids = [sandbox.create_list(f"List {at}") for at in range(23)]
    assert [one.id for one in reader.lists.all()] == ids
    assert account.requests_to(limits.GET_LISTS) == 3
    assert reader.lists.get(ids[7]).name == "List 7"
    assert reader.lists.get(ids[7], with_count=True).profile_count == 0


@pytest.mark.parametrize("channel", ["SMS", "Email", "fax", None])
def test_subscribers_of_a_channel_that_there_is_not_are_refused(reader, sandbox, channel):
    list_id = sandbox.create_list("News")
    with pytest.raises(InvalidArgumentError, match=r"^channel: must be one of email, sms$"):
        reader.lists.subscribers(list_id, channel=channel)


def test_a_list_and_a_segment_are_got_by_their_names_too(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    segment_id = sandbox.create_segment("VIP", account.person("ada@shop.io"))
    assert reader.lists.get(list_name="News").id == list_id
    assert reader.lists.get(list_name="News", with_count=True).profile_count == 0
    assert reader.segments.get(segment_name="VIP").id == segment_id
