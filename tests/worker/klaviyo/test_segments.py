"""Reads of segments."""

from __future__ import annotations

ADA, BOB, CLO = "ada@shop.io", "bob@shop.io", "clo@shop.io"


def test_a_segment_is_read_by_id_and_by_name(reader, account, sandbox):
    ids = [account.person(ADA), account.person(BOB)]
    segment_id = sandbox.create_segment("VIP", *ids)
    assert [one.name for one in reader.segments.all()] == ["VIP"]
    assert reader.segments.id_of("VIP") == segment_id
    assert reader.segments.get(segment_id, with_count=True).profile_count == 2
    assert {one.email for one in reader.segments.members(segment_id)} == {ADA, BOB}
    named = reader.segments.members(segment_name="VIP", emails=[BOB, CLO])
    assert [one.email for one in named] == [BOB]
