"""The retired SDK's payloads: every row of the tables of properties in docs/migrating.md."""

import copy
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from klaviyo_relay import InvalidCommandError
from klaviyo_relay.legacy import LegacyWarning
from klaviyo_relay.legacy_mapping import to_commands

ADA, PHONE = "ada@lovelace.dev", "+15005550006"
WHO = {"$email": ADA}
AT, AT_ISO = 1_700_000_000, "2023-11-14T22:13:20Z"


def plain(command):
    return msgspec.json.decode(msgspec.json.encode(command))


def commands(**payload):
    return [plain(command) for command in to_commands(payload)]


# --- properties of a person: the second table -----------------------------------------------------

PERSON = [
    ({"email": ADA}, {"email": ADA}),
    ({"$phone_number": PHONE}, {"phone_number": PHONE}),
    ({"phone_number": PHONE}, {"phone_number": PHONE}),
    ({"$id": "crm-1"}, {"external_id": "crm-1"}),
    ({"id": "crm-1"}, {"external_id": "crm-1"}),
    ({"id": 42}, {"external_id": "42"}),
    ({"$first_name": "Ada"}, {"first_name": "Ada"}),
    ({"$last_name": "Lovelace"}, {"last_name": "Lovelace"}),
    ({"$organization": "Analytical"}, {"organization": "Analytical"}),
    ({"$title": "Countess"}, {"title": "Countess"}),
    ({"$image": "https://x.dev/a.png"}, {"image": "https://x.dev/a.png"}),
    ({"$locale": "en-GB"}, {"locale": "en-GB"}),
    ({"$address1": "12 St James's Square"}, {"location": {"address1": "12 St James's Square"}}),
    ({"$address2": "3"}, {"location": {"address2": "3"}}),
    ({"$city": "London", "$region": "LDN"}, {"location": {"city": "London", "region": "LDN"}}),
    ({"$country": "GB", "$zip": "SW1"}, {"location": {"country": "GB", "zip": "SW1"}}),
    ({"$latitude": 51.5, "$longitude": "0"}, {"location": {"latitude": 51.5, "longitude": "0"}}),
    ({"$timezone": "Europe/London"}, {"location": {"timezone": "Europe/London"}}),
    ({"plan": "gold", "first_name": "A"}, {"properties": {"plan": "gold", "first_name": "A"}}),
    ({"x": None}, {"properties": {"x": None}}),
    ({"$first_name": None, "$city": "", "$id": ""}, {}),
    ({"$unset": ["a", "$first_name"]}, {"unset": ["a", "first_name"]}),
    ({"$unset": "a"}, {"unset": ["a"]}),
    ({"$unset": '["a", "b"]'}, {"unset": ["a", "b"]}),
    ({"$append": {"tags": "x"}}, {"append": {"tags": "x"}}),
    ({"$unappend": {"tags": ["x"]}}, {"unappend": {"tags": ["x"]}}),
]


@pytest.mark.parametrize(("old", "new"), PERSON, ids=lambda value: next(iter(value), "-"))
def test_a_property_of_a_person_is_an_identify_of_today(old, new):
    given = {**WHO, **old}
    before = copy.deepcopy(given)

    assert commands(properties=given) == [{"verb": "identify", "email": ADA, **new}]
    assert given == before


@pytest.mark.parametrize(("old", "new"), PERSON, ids=lambda value: next(iter(value), "-"))
def test_the_same_beside_an_event_travels_as_an_identify_before_it(old, new):
    given = {**WHO, **old}
    before = copy.deepcopy(given)
    who = {name: new[name] for name in ("phone_number", "external_id") if name in new}
    more = {name: value for name, value in new.items() if name not in ("email", *who)}

    made = commands(event="M", customer_properties=given)

    assert made[-1] == {"verb": "track", "metric": "M", "email": ADA, **who}
    expected = [{"verb": "identify", "email": ADA, **who, **more}] if more else []
    assert made[:-1] == expected
    assert given == before


def test_the_plain_name_wins_over_the_one_with_a_dollar():
    assert commands(properties={"email": ADA, "$email": "b@lovelace.dev"})[0]["email"] == ADA


def test_an_anonymous_id_is_for_events():
    (made,) = commands(event="M", customer_properties={"$anonymous": "a-1"})
    assert made == {"verb": "track", "metric": "M", "anonymous_id": "a-1"}

    with pytest.warns(LegacyWarning, match="anonymous"):
        (made,) = commands(properties={**WHO, "$anonymous": "a-1"})
    assert made == {"verb": "identify", "email": ADA}


# --- consent --------------------------------------------------------------------------------------

BOTH = {"$email": ADA, "$phone_number": PHONE}


CONSENTS = [
    ({"$consent": ["email"]}, {"channels": ["email"], "email": ADA}),
    ({"$consent": "email"}, {"channels": ["email"], "email": ADA}),
    ({"$consent": ["sms"]}, {"channels": ["sms"], "phone_number": PHONE}),
    (
        {"$consent": ["email", "sms"]},
        {"channels": ["email", "sms"], "email": ADA, "phone_number": PHONE},
    ),
    ({"sms_consent": True}, {"channels": ["sms"], "phone_number": PHONE}),
    (
        {"$consent": ["email"], "$consent_timestamp": AT, "$source": "footer"},
        {"channels": ["email"], "email": ADA, "consented_at": AT_ISO, "source": "footer"},
    ),
    (
        {"$consent": ["email"], "$consent_timestamp": "2023-11-14T22:13:20+00:00"},
        {"channels": ["email"], "email": ADA, "consented_at": AT_ISO},
    ),
]


@pytest.mark.parametrize(("old", "new"), CONSENTS, ids=lambda value: str(list(value)))
def test_a_consent_is_a_subscribe_for_its_channels(old, new):
    identify = {"verb": "identify", "email": ADA, "phone_number": PHONE}
    track = {"verb": "track", "metric": "M", "email": ADA, "phone_number": PHONE}
    subscribe = {"verb": "subscribe", **new}

    assert commands(properties={**BOTH, **old}) == [identify, subscribe]
    assert commands(event="M", customer_properties={**BOTH, **old}) == [track, subscribe]


@pytest.mark.parametrize("gone", ["web", "directmail", "mobile"])
def test_consent_without_a_target_is_said(gone):
    with pytest.warns(LegacyWarning, match=gone):
        made = commands(properties={**WHO, "$consent": ["email", gone]})
    assert [each["verb"] for each in made] == ["identify", "subscribe"]
    assert made[1]["channels"] == ["email"]

    with pytest.warns(LegacyWarning, match=gone):
        assert len(commands(properties={**WHO, "$consent": gone})) == 1


@pytest.mark.parametrize(
    "old",
    [
        {"push_token": "t"},
        {"$exchange_id": "e"},
        {"_kx": "e"},
        {"$locale_country": "GB"},
        {"sms_consent": False},
        {"$source": "footer"},
        {"$consent_timestamp": AT},
    ],
    ids=lambda value: next(iter(value)),
)
def test_a_member_without_a_target_is_left_out_and_said(old):
    with pytest.warns(LegacyWarning, match="was left out") as caught:
        made = commands(properties={**WHO, **old})

    assert made == [{"verb": "identify", "email": ADA}]
    assert caught[0].filename == __file__


CANNOT_BE_MEANT = {
    "an unknown channel": ({"$consent": ["fax"]}, "consent"),
    "consent without a channel": ({"$consent": True}, "consent"),
    "SMS without a number": ({"$consent": ["sms"]}, "phone_number"),
    "unset and set": ({"$unset": ["$city"]}, "city"),
    "unset as broken JSON": ({"$unset": "[oops"}, "unset"),
    "unset as lists": ({"$unset": [["a"]]}, "unset"),
    "null appended": ({"$append": {"$first_name": None}}, "append"),
    "a time beyond all calendars": (
        {"$consent": "email", "$consent_timestamp": 1e300},
        "consent_timestamp",
    ),
}


@pytest.mark.parametrize(("old", "field"), CANNOT_BE_MEANT.values(), ids=CANNOT_BE_MEANT)
def test_what_cannot_be_meant_is_an_error(old, field):
    with pytest.raises(InvalidCommandError, match=field):
        commands(properties={**WHO, **old})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"$event_id": "o-1"}, {"unique_id": "o-1"}),
        ({"$event_id": 7}, {"unique_id": "7"}),
        ({"$value": 9.99}, {"value": 9.99}),
        ({"$value": 9, "$value_currency": "USD"}, {"value": 9, "value_currency": "USD"}),
        ({"$value": 9, "$currency_code": "EUR"}, {"value": 9, "value_currency": "EUR"}),
        ({"$extra": {"html": "…"}, "a": 1}, {"properties": {"$extra": {"html": "…"}, "a": 1}}),
        ({"__track_once__": True}, {"unique_id": "once"}),
        ({"__track_once__": False}, {}),
        ({}, {}),
    ],
    ids=lambda value: "+".join(value) or "-",
)
def test_a_property_of_an_event_is_a_field_or_property_of_today(old, new):
    before = copy.deepcopy(old)

    made = commands(token="PUBLIC", event="M", customer_properties=WHO, properties=old)

    assert made == [{"verb": "track", "metric": "M", "email": ADA, **new}]
    assert old == before


LOCAL = datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    ("time", "iso"),
    [
        (AT, AT_ISO),
        (AT + 0.5, "2023-11-14T22:13:20.500000Z"),
        (str(AT), AT_ISO),
        (AT_ISO, AT_ISO),
        (datetime.fromtimestamp(AT, timezone(timedelta(hours=2))), AT_ISO),
        (LOCAL, LOCAL.astimezone(UTC).isoformat().replace("+00:00", "Z")),
    ],
    ids=["int", "float", "text", "ISO", "aware", "naive"],
)
def test_the_time_of_an_event_is_iso_8601_however_it_was_given(time, iso):
    assert commands(event="M", customer_properties=WHO, time=time)[0]["time"] == iso
    assert commands(event="M", customer_properties=WHO, timestamp=time)[0]["time"] == iso
    both = commands(event="M", customer_properties=WHO, timestamp=None, time=time)
    assert both[0]["time"] == iso


@pytest.mark.parametrize("time", [AT * 1_000, "soon", [], float("nan"), -(10**30)])
def test_a_time_that_is_none_is_an_error(time):
    with pytest.raises(InvalidCommandError, match="time"):
        commands(event="M", customer_properties=WHO, time=time)


def test_the_address_of_an_event_is_a_location():
    made = commands(event="M", customer_properties={**WHO, "$city": "London"}, ip="203.0.113.7")

    assert made[0]["location"] == {"city": "London", "ip": "203.0.113.7"}


WOULD_BE_REFUSED = {
    "nobody": ({"event": "M"}, "email"),
    "neither event nor person": ({"properties": {}}, "email"),
    "a person as a list": ({"event": "M", "customer_properties": [ADA]}, "customer_properties"),
    "a property without a name": (
        {"event": "M", "customer_properties": WHO, "properties": {1: 2}},
        "properties",
    ),
    "an unknown service": ({"event": "M", "customer_properties": WHO, "service": "x"}, "service"),
    "no name": ({"event": "", "customer_properties": WHO}, "metric"),
}


@pytest.mark.parametrize(("payload", "field"), WOULD_BE_REFUSED.values(), ids=WOULD_BE_REFUSED)
def test_a_payload_that_klaviyo_would_refuse_raises(payload, field):
    with pytest.raises(InvalidCommandError, match=field):
        to_commands(payload)
