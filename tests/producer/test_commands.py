import enum
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klaviyo_relay import (
    AddToList,
    CreateList,
    DeleteList,
    DeleteProfile,
    Identify,
    InvalidCommandError,
    RemoveFromList,
    RenameList,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
    Unsuppress,
)
from klaviyo_relay.commands import KINDS, VERBS, build, construct
from klaviyo_relay.envelope import Envelope, decode, encode

ADA = "ada@lovelace.dev"
PHONE = "+15005550006"
SECRET = "geheim7"
LONG = SECRET * 40

# The smallest command of each verb.
LEAST = {
    "track": {"metric": "M", "email": ADA},
    "identify": {"email": ADA},
    "add_to_list": {"list_id": "Y6nRLr", "email": ADA},
    "remove_from_list": {"list_id": "Y6nRLr", "email": ADA},
    "create_list": {"list_name": "News"},
    "rename_list": {"list_id": "Y6nRLr", "new_name": "Old news"},
    "delete_list": {"list_id": "Y6nRLr"},
    "subscribe": {"email": ADA},
    "unsubscribe": {"email": ADA},
    "suppress": {"email": ADA},
    "unsuppress": {"email": ADA},
    "delete_profile": {"email": ADA},
}


def refusal(verb, **arguments):
    with pytest.raises(InvalidCommandError) as caught:
        build(verb, LEAST[verb] | arguments)
    return caught.value


def test_every_kind_of_command_has_a_verb_of_its_own():
    assert set(VERBS) == set(LEAST)
    assert set(VERBS.values()) == set(KINDS)


@pytest.mark.parametrize("verb", LEAST)
def test_the_smallest_command_of_a_verb_is_enough(verb):
    command = build(verb, LEAST[verb])

    assert type(command) is VERBS[verb]
    assert msgspec.json.decode(msgspec.json.encode(command)) == {"verb": verb, **LEAST[verb]}


@pytest.mark.parametrize("verb", LEAST)
def test_an_unknown_argument_is_named(verb):
    error = refusal(verb, e_mail=SECRET)

    assert error.field == "e_mail"
    assert "unknown" in error.rule
    assert SECRET not in str(error)


REQUIRED = [
    ("track", "metric"),
    ("create_list", "list_name"),
    ("rename_list", "new_name"),
    ("suppress", "email"),
    ("unsuppress", "email"),
]


@pytest.mark.parametrize(("verb", "field"), REQUIRED)
def test_a_missing_required_argument_is_named(verb, field):
    arguments = {name: value for name, value in LEAST[verb].items() if name != field}

    with pytest.raises(InvalidCommandError) as caught:
        build(verb, arguments)

    assert (caught.value.field, caught.value.rule) == (field, "is required")


@pytest.mark.parametrize(("verb", "field"), REQUIRED)
def test_none_for_a_required_argument_is_refused_by_its_name(verb, field):
    assert refusal(verb, **{field: None}).field == field


def test_an_unknown_verb_is_refused():
    with pytest.raises(InvalidCommandError) as caught:
        build("drop_table", {})

    assert caught.value.field == "verb"
    assert "track" in caught.value.rule


@pytest.mark.parametrize(
    "verb", ["track", "identify", "add_to_list", "remove_from_list", "subscribe", "unsubscribe",
             "delete_profile"],
)  # fmt: skip
def test_a_command_about_nobody_is_refused(verb):
    error = refusal(verb, email=None)

    assert "email" in error.field
    assert "needed" in error.rule


BAD_ARGUMENTS = {
    "track without a name": ("track", {"metric": ""}, "metric"),
    "track, a name too long": ("track", {"metric": "m" * 128}, "metric"),
    "track, a name that is a number": ("track", {"metric": 5}, "metric"),
    "an email without a domain": ("track", {"email": f"{SECRET}@nowhere"}, "email"),
    "an empty email": ("track", {"email": ""}, "email"),
    "a phone number without its country": (
        "track",
        {"phone_number": "0500 5550006"},
        "phone_number",
    ),
    "an external id too long": ("track", {"external_id": LONG}, "external_id"),
    "an anonymous id that is a number": ("track", {"anonymous_id": 7}, "anonymous_id"),
    "an empty profile id": ("track", {"profile_id": ""}, "profile_id"),
    "a unique id too long": ("track", {"unique_id": LONG}, "unique_id"),
    "a value that is no number": ("track", {"value": math.nan}, "value"),
    "a value without end": ("track", {"value": math.inf}, "value"),
    "a value as text": ("track", {"value": "23.99"}, "value"),
    "a value beyond 64 bits": ("track", {"value": 2**64}, "value"),
    "a currency without a value": ("track", {"value_currency": "USD"}, "value_currency"),
    "a currency of six letters": (
        "track",
        {"value": 1, "value_currency": "dollar"},
        "value_currency",
    ),
    "a time without a zone": ("track", {"time": datetime(2026, 1, 31)}, "time"),  # noqa: DTZ001 - what is refused
    "a time in seconds": ("track", {"time": 1_700_000_000}, "time"),
    "a time in a year": ("track", {"time": datetime.now(UTC) + timedelta(days=366)}, "time"),
    "backfill as a number": ("track", {"backfill": 1}, "backfill"),
    "a set among the properties": ("track", {"properties": {"a": {SECRET}}}, "properties.a"),
    "bytes within a list of properties": (
        "track",
        {"properties": {"a": [SECRET.encode()]}},
        "properties.a[0]",
    ),
    "an empty first name": ("identify", {"first_name": ""}, "first_name"),
    "a location of an unknown part": (
        "identify",
        {"location": {"planet": SECRET}},
        "location.planet",
    ),
    "unset as one text": ("identify", {"unset": "first_name"}, "unset"),
    "unset, but nothing": ("identify", {"unset": []}, "unset"),
    "null appended": ("identify", {"append": {"a": None}}, "append.a"),
    "an object appended": ("identify", {"append": {"a": {"b": SECRET}}}, "append.a"),
    "appended to a field that has no items": (
        "identify",
        {"append": {"first_name": SECRET}},
        "append.first_name",
    ),
    "unappend as a list": ("identify", {"unappend": [SECRET]}, "unappend"),
    "set and unset": ("identify", {"properties": {"a": SECRET}, "unset": ["a"]}, "unset.a"),
    "set and appended to": (
        "identify",
        {"properties": {"a": SECRET}, "append": {"a": SECRET}},
        "append.a",
    ),
    "appended and unappended": (
        "identify",
        {"append": {"a": SECRET}, "unappend": {"a": SECRET}},
        "unappend.a",
    ),
    "a field set and unset": (
        "identify",
        {"first_name": SECRET, "unset": ["first_name"]},
        "first_name",
    ),
    "add to no list": ("add_to_list", {"list_id": None}, "list_id | list_name"),
    "add to an id and a name": ("add_to_list", {"list_name": "News"}, "list_id | list_name"),
    "a list id that is a name": ("add_to_list", {"list_id": "My list"}, "list_id"),
    "a list without a name": ("create_list", {"list_name": ""}, "list_name"),
    "an unknown opt-in": ("create_list", {"opt_in_process": SECRET}, "opt_in_process"),
    "an opt-in as a list": ("create_list", {"opt_in_process": ["single_opt_in"]}, "opt_in_process"),
    "rename by an id and a name": ("rename_list", {"list_name": "News"}, "list_id | list_name"),
    "rename to a name too long": ("rename_list", {"new_name": LONG}, "new_name"),
    "delete no list": ("delete_list", {"list_id": None}, "list_id | list_name"),
    "channels as one text": ("subscribe", {"channels": "email"}, "channels"),
    "no channel": ("subscribe", {"channels": []}, "channels"),
    "a channel twice": ("subscribe", {"channels": ["email", "email"]}, "channels"),
    "an unknown channel": ("subscribe", {"channels": [SECRET]}, "channels"),
    "a channel that is a list": ("subscribe", {"channels": [["email"]]}, "channels"),
    "SMS without a number": ("subscribe", {"channels": ["sms"]}, "phone_number"),
    "subscribe to an id and a name": (
        "subscribe",
        {"list_id": "Y6nRLr", "list_name": "News"},
        "list_id | list_name",
    ),
    "consent in an hour": (
        "subscribe",
        {"consented_at": datetime.now(UTC) + timedelta(hours=1)},
        "consented_at",
    ),
    "a source that is a number": ("subscribe", {"source": 5}, "source"),
    "unsubscribe an email that is not given": (
        "unsubscribe",
        {"email": None, "phone_number": PHONE, "channels": ["email"]},
        "email",
    ),
    "suppress what is no email": ("suppress", {"email": SECRET}, "email"),
    "delete by two identifiers": (
        "delete_profile",
        {"phone_number": PHONE},
        "email | phone_number | profile_id",
    ),
}


@pytest.mark.parametrize(("verb", "arguments", "field"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_a_bad_argument_is_refused_by_its_name_and_never_repeated(verb, arguments, field):
    error = refusal(verb, **arguments)

    assert error.field == field
    assert SECRET not in str(error)
    assert LEAST[verb].get("email", SECRET) not in str(error)


def test_a_location_that_is_set_and_cleared_at_once_is_refused():
    assert refusal("identify", location={"city": "Berlin"}, unset=["location"]).field == "location"


@pytest.mark.parametrize("verb", LEAST)
def test_a_command_is_frozen(verb):
    command = build(verb, LEAST[verb])

    for name in command.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(command, name, None)


def test_a_command_does_not_follow_later_changes_of_what_it_was_made_from():
    properties = {"items": [1]}
    command = Track(metric="M", email=ADA, properties=properties)

    properties["items"].append(2)
    properties["more"] = True

    assert command.properties == {"items": [1]}


@pytest.mark.parametrize(
    "command",
    [
        Track(
            metric=SECRET, email=f"{SECRET}@example.com", properties={SECRET: SECRET}, value=4711
        ),
        Identify(external_id=SECRET, first_name=SECRET, unset=[SECRET], append={"a": 4711}),
        Subscribe(list_name=SECRET, phone_number="+4947114711", source=SECRET),
        DeleteProfile(profile_id=SECRET),
        RenameList(list_name=SECRET, new_name=SECRET + "2"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_the_repr_of_a_command_shows_no_value(command):
    envelope = Envelope(id="0", account="default", at=0, command=command)

    for shown in (repr(command), str(command), repr([command]), repr(envelope), f"{envelope}"):
        assert SECRET not in shown
        assert "4711" not in shown
    assert type(command).__name__ in repr(command)


@pytest.mark.parametrize(
    ("command", "channels"),
    [
        (Subscribe(email=ADA), ("email",)),
        (Subscribe(phone_number=PHONE), ("sms",)),
        (Subscribe(email=ADA, phone_number=PHONE), ("email", "sms")),
        (Subscribe(email=ADA, phone_number=PHONE, channels=["sms"]), ("sms",)),
        (Unsubscribe(email=ADA), ("email",)),
    ],
)
def test_consent_is_for_the_channels_named_or_for_each_identifier(command, channels):
    assert command.consented_channels() == channels


class OptIn(str, enum.Enum):  # noqa: UP042 - a StrEnum would be its own word
    SINGLE = "single_opt_in"


class Medium(str):
    __slots__ = ()


def test_strings_of_a_kind_of_their_own_travel_as_the_plain_words():
    created = CreateList(list_name="News", opt_in_process=OptIn.SINGLE)
    subscribed = Subscribe(email=ADA, channels=[Medium("email")])

    assert b'"single_opt_in"' in msgspec.json.encode(created)
    assert b'["email"]' in msgspec.json.encode(subscribed)


@pytest.mark.parametrize(
    ("kind", "lane"),
    [
        (Track, "events"),
        (Identify, "profiles"),
        (AddToList, "lists"),
        (RemoveFromList, "lists"),
        (CreateList, "lists"),
        (RenameList, "lists"),
        (DeleteList, "lists"),
        (Subscribe, "consent"),
        (Unsubscribe, "consent"),
        (Suppress, "consent"),
        (Unsuppress, "consent"),
        (DeleteProfile, "privacy"),
    ],
)
def test_each_kind_of_command_has_the_lane_of_the_design(kind, lane):
    assert kind.lane == lane


def test_no_lane_in_the_wire_form_because_the_lane_is_where_it_lies():
    assert b"lane" not in msgspec.json.encode(Track(metric="M", email=ADA))


# --- any Python data at all -----------------------------------------------------------------------

moments = st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-9, minutes=-30))))
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(alphabet=st.characters(), max_size=20),
    st.binary(max_size=5),
    st.decimals(),
    st.dates(),
    st.datetimes(),
    moments,
    st.uuids(),
    st.timedeltas(),
    st.complex_numbers(),
    st.frozensets(st.integers(), max_size=2),
)
keys = st.text(alphabet=st.characters(), max_size=12) | st.integers() | st.none() | st.booleans()
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner, max_size=4),
        st.sets(st.integers(), max_size=2),
    ),
    max_leaves=25,
)
anything_keyed = st.dictionaries(
    st.text(alphabet=st.characters(), max_size=12), anything, max_size=4
)


def as_documented(value):
    """The same data after the documented conversions: what must come back from the wire."""
    if isinstance(value, dict):
        return {key: as_documented(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_documented(item) for item in value]
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


def assert_names_its_field(error):
    assert error.field
    assert error.rule


def assert_stored_or_refused(make, read, value):
    try:
        command = make(value)
    except InvalidCommandError as error:
        assert_names_its_field(error)
        return
    message = encode(Envelope(id="0", account="default", at=0, command=command))
    assert read(msgspec.json.decode(message)["command"]) == as_documented(value)
    assert decode(message).command == command


@given(value=anything | anything_keyed)
def test_any_data_as_properties_is_either_stored_unchanged_or_refused_by_name(value):
    assert_stored_or_refused(
        lambda given: Track(metric="M", email=ADA, properties=given),
        lambda wire: wire.get("properties"),
        value,
    )


@given(field=st.sampled_from([name for name in Identify.__struct_fields__ if name != "email"]),
       value=anything)  # fmt: skip
def test_any_data_in_any_field_of_a_profile_makes_a_command_or_is_refused_by_name(field, value):
    try:
        command = construct(Identify, {"email": ADA, field: value})
    except InvalidCommandError as error:
        assert_names_its_field(error)
        return
    message = encode(Envelope(id="0", account="default", at=0, command=command))
    assert decode(message).command == command


@given(
    verb=st.sampled_from(sorted(VERBS)),
    arguments=st.dictionaries(
        st.sampled_from(sorted({name for kind in KINDS for name in kind.__struct_fields__}))
        | st.text(max_size=8),
        anything,
        max_size=4,
    ),
)
def test_any_keywords_of_any_verb_make_a_command_or_are_refused_by_name(verb, arguments):
    try:
        command = build(verb, arguments)
    except InvalidCommandError as error:
        assert_names_its_field(error)
        return
    message = encode(Envelope(id="0", account="default", at=0, command=command))
    assert decode(message).command == command


# Whole numbers beyond 2**53 are sent exactly, but a worker reads `value` as a float.
@given(value=st.floats() | st.integers(-(2**53), 2**53) | st.decimals())
def test_a_number_is_sent_as_it_is_or_refused(value):
    assert_stored_or_refused(
        lambda given: Track(metric="M", email=ADA, value=given), lambda wire: wire["value"], value
    )
