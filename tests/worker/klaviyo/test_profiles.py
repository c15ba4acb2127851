"""Reads of profiles, against the sandbox."""

from __future__ import annotations

ADA, BOB, CLO = "ada@shop.io", "bob@shop.io", "clo@shop.io"


def test_a_profile_is_read_with_all_that_it_has(reader, account):
    profile_id = account.person(
        ADA, first_name="Ada", location={"city": "London"}, properties={"tier": "gold"}
    )
    account.consent("create", ADA)
    found = reader.profiles.get(profile_id)
    assert (found.id, found.email, found.first_name) == (profile_id, ADA, "Ada")
    assert found.location["city"] == "London"
    assert found.properties == {"tier": "gold"}
    assert found.created.tzinfo is not None
    assert found.consent() == "SUBSCRIBED"
    assert found.can_receive()
    assert not found.can_receive("sms")


def test_an_id_is_found_by_each_identifier(reader, account):
    profile_id = account.person(ADA, phone_number="+15005550006", external_id='e,"1')
    assert reader.profiles.id_of(email=ADA) == profile_id
    assert reader.profiles.id_of(phone_number="+15005550006") == profile_id
    assert reader.profiles.id_of(external_id='e,"1') == profile_id
    assert reader.profiles.id_of(email=BOB) is None


def test_named_profiles_come_once_even_if_they_are_named_twice(reader, account):
    profile_id = account.person(ADA, phone_number="+15005550006")
    account.person(BOB)
    found = reader.profiles.all(emails=[ADA, ADA, CLO], phone_numbers=["+15005550006"])
    assert [one.id for one in found] == [profile_id]
