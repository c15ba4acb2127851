"""Typed values, and how lenient their reading is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klaviyo_relay_worker.errors import InvalidArgumentError
from klaviyo_relay_worker.klaviyo.resources import (
    Event,
    Exclusion,
    MailingList,
    Metric,
    Profile,
    Segment,
    read,
    related_id,
    time_of,
)

KINDS = (Profile, Event, Metric, MailingList, Segment)


def test_an_unknown_attribute_is_kept():
    found = read(Profile, {"id": "1", "attributes": {"email": "a@shop.io", "brand_new": {"x": 1}}})
    assert (found.email, found.more) == ("a@shop.io", {"brand_new": {"x": 1}})


def test_an_attribute_of_another_type_is_kept_as_it_came():
    found = read(Metric, {"id": "1", "attributes": {"name": 5, "integration": "API"}})
    assert (found.name, found.integration) == (None, None)
    assert found.more == {"name": 5, "integration": "API"}


def test_null_is_nothing():
    found = read(Profile, {"id": "1", "attributes": {"email": None, "properties": None}})
    assert (found.email, found.properties, found.more) == (None, {}, {})


def test_times_have_a_zone():
    found = read(MailingList, {"id": "1", "attributes": {"created": "2026-01-02T03:04:05+00:00"}})
    assert found.created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("resource", [{"id": "1"}, {"id": "1", "attributes": None}, {}])
def test_a_resource_without_attributes_is_one(resource):
    assert read(Profile, resource).more == {}


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
anything = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
names = st.sampled_from(
    [
        "email",
        "properties",
        "created",
        "subscriptions",
        "location",
        "name",
        "datetime",
        "more",
        "id",
    ]
)


@given(st.sampled_from(KINDS), st.dictionaries(names | st.text(), anything))
def test_whatever_klaviyo_sends_is_read_and_nothing_is_lost(kind, attributes):
    found = read(kind, {"id": "1", "attributes": attributes})
    assert found.id == "1"
    known = set(kind.__struct_fields__) - {"id", "more"}
    for name, value in attributes.items():
        assert name in found.more or name in known
        if name in found.more:
            assert found.more[name] == value


@given(st.dictionaries(st.sampled_from(["email", "sms"]), anything))
def test_odd_subscriptions_permit_nothing(subscriptions):
    found = read(Profile, {"id": "1", "attributes": {"subscriptions": subscriptions}})
    for channel in ("email", "sms"):
        assert found.can_receive(channel, list_id="ABCDEF") in (True, False)
        if not isinstance(subscriptions.get(channel), dict):
            assert not found.can_receive(channel)


def test_what_is_known_of_a_person_is_not_in_a_repr():
    profile = read(Profile, {"id": "01A", "attributes": {"email": "a@shop.io", "new": "secret"}})
    exclusion = Exclusion(
        profile_id="01A", email="a@shop.io", reason="UNSUBSCRIBE", timestamp=None, list_id=None
    )
    assert repr(profile) == "<Profile 01A>"
    assert "shop.io" not in repr([profile, exclusion])


def test_a_list_that_is_excluded_stops_email_of_that_list_alone():
    marketing = {
        "can_receive_email_marketing": True,
        "consent": "SUBSCRIBED",
        "list_suppressions": [{"list_id": "ABCDEF", "reason": "UNSUBSCRIBE"}],
    }
    attributes = {"subscriptions": {"email": {"marketing": marketing}}}
    found = read(Profile, {"id": "1", "attributes": attributes})
    assert found.consent() == "SUBSCRIBED"
    assert found.can_receive()
    assert found.can_receive(list_id="GHIJKL")
    assert not found.can_receive(list_id="ABCDEF")


@pytest.mark.parametrize("channel", ["Email", "fax"])
def test_consent_to_a_channel_that_there_is_not_is_refused(channel):
    profile = Profile(id="1")
    for ask in (profile.consent, profile.can_receive):
        with pytest.raises(InvalidArgumentError, match=r"^channel: must be one of email, sms$"):
            ask(channel)


def test_amounts_are_among_an_events_properties():
    properties = {"$event_id": "u", "$value": 2.5, "$value_currency": "USD", "size": "M"}
    found = read(Event, {"id": "1", "attributes": {"event_properties": properties}})
    assert (found.unique_id, found.value, found.value_currency) == ("u", 2.5, "USD")


def test_relationships_may_be_missing():
    assert related_id({}, "metric") is None
    assert related_id({"relationships": {"metric": {"data": None}}}, "metric") is None
    assert related_id({"relationships": {"metric": {"data": {"id": "A"}}}}, "metric") == "A"


@pytest.mark.parametrize("text", ["", "never", None, 5, {}])
def test_what_is_no_time_is_none(text):
    assert time_of(text) is None
