"""Who is on a list or in a segment, which is named by its id or its name."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.errors import InvalidArgumentError, NotFoundError

ADA, BOB, CLO = "ada@shop.io", "bob@shop.io", "clo@shop.io"


def test_a_name_that_two_lists_share_is_refused_with_both_ids(reader, sandbox):
    ids = [sandbox.create_list("News"), sandbox.create_list("News")]
    with pytest.raises(InvalidArgumentError) as caught:
        reader.lists.members(list_name="News")
    assert caught.value.argument == "list_name"
    assert all(each in caught.value.rule for each in ids)


@pytest.mark.parametrize("kind", ["list", "segment"])
def test_a_list_or_segment_of_no_such_name_is_not_found(reader, kind):
    group = getattr(reader, f"{kind}s")
    for read in (group.id_of, lambda name: group.members(**{f"{kind}_name": name})):
        with pytest.raises(NotFoundError, match=f"^{kind}_name: Klaviyo has no {kind}") as caught:
            read("Gone")
        assert caught.value.status == 404


def test_members_and_subscribers_are_told_apart(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    ids = [account.person(email) for email in (ADA, BOB, CLO)]
    account.member(list_id, *ids)
    account.consent("delete", BOB)
    account.consent("create", CLO, list_id)
    account.consent("delete", CLO, list_id)
    account.member(list_id, ids[2])
    assert {one.email for one in reader.lists.members(list_id)} == {ADA, BOB, CLO}
    assert [one.email for one in reader.lists.subscribers(list_id)] == [ADA]
    named = reader.lists.subscribers(list_name="News", emails=[BOB, ADA])
    assert [one.email for one in named] == [ADA]
    assert [one.email for one in reader.lists.members(list_id, emails=[BOB])] == [BOB]
    assert reader.profiles.lists(ids[0])[0].name == "News"


def test_a_member_is_found_by_push_token(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    ids = [account.person(ADA), account.person(BOB)]
    account.member(list_id, *ids)
    sandbox.add_push_token(ADA, "token/1")
    found = reader.lists.members(list_id, push_tokens=["token/1", "token/2"])
    assert [one.id for one in found] == ids[:1]
