# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name
"""Each verb, as a producer has it."""

import time
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest

from klaviyo_relay import Identify, InvalidCommandError, Producer, Track
from klaviyo_relay.commands import TRACK_ONCE_ID
from klaviyo_relay.verbs import Verbs

ADA = "ada@lovelace.dev"
PHONE = "+15005550006"

# Verb, arguments, lane, and what stands on the wire.
VERBS = [
    (
        "track",
        ("Placed Order",),
        {"email": ADA, "value": Decimal("23.99"), "time": datetime(2026, 1, 31, tzinfo=UTC)},
        "events",
        {"metric": "Placed Order", "email": ADA, "value": 23.99, "time": "2026-01-31T00:00:00Z"},
    ),
    (
        "track_once",
        ("Signed Up",),
        {"email": ADA},
        "events",
        {"verb": "track", "metric": "Signed Up", "email": ADA, "unique_id": "once"},
    ),
    (
        "identify",
        (),
        {"email": ADA, "first_name": "Ada", "unset": ("title",), "append": {"tags": "a"}},
        "profiles",
        {"email": ADA, "first_name": "Ada", "unset": ["title"], "append": {"tags": "a"}},
    ),
    ("add_to_list", ("Y6nRLr",), {"email": ADA}, "lists", {"list_id": "Y6nRLr", "email": ADA}),
    (
        "remove_from_list",
        (),
        {"list_name": "News", "phone_number": PHONE},
        "lists",
        {"list_name": "News", "phone_number": PHONE},
    ),
    ("create_list", ("News",), {}, "lists", {"list_name": "News"}),
    (
        "rename_list",
        ("Y6nRLr",),
        {"new_name": "Old"},
        "lists",
        {"list_id": "Y6nRLr", "new_name": "Old"},
    ),
    ("delete_list", (), {"list_name": "Old"}, "lists", {"list_name": "Old"}),
    (
        "subscribe",
        ("Y6nRLr",),
        {"email": ADA, "channels": ["email"], "source": "shop"},
        "consent",
        {"list_id": "Y6nRLr", "email": ADA, "channels": ["email"], "source": "shop"},
    ),
    ("unsubscribe", (), {"email": ADA}, "consent", {"email": ADA}),
    ("suppress", (), {"email": ADA}, "consent", {"email": ADA}),
    ("unsuppress", (), {"email": ADA}, "consent", {"email": ADA}),
    ("delete_profile", (), {"profile_id": "01G"}, "privacy", {"profile_id": "01G"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "positional", "named", "lane", "sent"), VERBS, ids=[verb[0] for verb in VERBS]
)
def test_a_verb_enqueues_its_command_in_its_lane_and_returns_its_id(
    producer, lanes, verb, positional, named, lane, sent
):
    identity = getattr(producer, verb)(*positional, **named)
    other = getattr(producer, verb)(*positional, **named, account="shop_2")

    assert producer.flush(timeout=10).left == 0
    (entry,) = lanes.entries(lane)
    assert entry.envelope.id == identity
    assert msgspec.json.decode(entry.message)["command"] == {"verb": verb} | sent
    assert [e.account for e in [entry.envelope]] == ["default"]
    assert lanes.ids(lane, "shop_2") == [other] != [identity]


def test_enqueue_takes_a_command_made_by_hand(producer, lanes):
    identity = producer.enqueue(Track(metric="M", email=ADA))

    assert producer.flush(timeout=10).left == 0
    assert lanes.ids() == [identity]


def test_a_command_carries_the_moment_of_its_call(away, stored):
    producer = Producer(away)
    before = time.time_ns() // 1_000_000
    producer.track("M", email=ADA)
    after = time.time_ns() // 1_000_000

    ((_, envelope),) = stored(away)
    assert before <= envelope.at <= after
    producer.close()


def test_the_profile_of_a_track_travels_as_an_identify_just_before_the_event(away, stored):
    producer = Producer(away)
    identity = producer.track(
        "M",
        email=ADA,
        external_id="crm-1",
        anonymous_id="anon",
        properties={"a": 1},
        profile={"first_name": "Ada", "properties": {"plan": "gold"}, "phone_number": PHONE},
    )

    (first_lane, first), (second_lane, second) = stored(away)
    assert (first_lane, second_lane) == ("default:profiles", "default:events")
    assert second.id == identity != first.id
    assert (first.command.email, first.command.external_id) == (ADA, "crm-1")
    assert first.command.first_name == "Ada"
    assert first.command.phone_number == PHONE
    assert first.command.properties == {"plan": "gold"}
    assert second.command.phone_number is None
    assert second.command.properties == {"a": 1}
    producer.close()


@pytest.mark.parametrize("profile", [None, {}], ids=["None", "empty"])
def test_a_track_without_attributes_is_the_event_alone(away, profile, stored):
    producer = Producer(away)

    producer.track("M", email=ADA, profile=profile)

    assert [lane for lane, _ in stored(away)] == ["default:events"]
    producer.close()


BAD_CALLS = {
    "nobody": (lambda p: p.track("M"), "email"),
    "no metric": (lambda p: p.track(None, email=ADA), "metric"),
    "no email address": (lambda p: p.track("M", email="nobody"), "email"),
    "a bad account": (lambda p: p.track("M", email=ADA, account="Shop"), "account"),
    "an unknown field of the profile": (
        lambda p: p.track("M", email=ADA, profile={"nickname": "geheim7"}),
        "profile.nickname",
    ),
    "an identifier in the profile": (
        lambda p: p.track("M", email=ADA, profile={"email": ADA}),
        "profile.email",
    ),
    "a field of the profile of another type": (
        lambda p: p.track("M", email=ADA, profile={"first_name": 7}),
        "first_name",
    ),
    "a profile as a list": (lambda p: p.track("M", email=ADA, profile=["geheim7"]), "profile"),
    "a profile as text": (lambda p: p.track("M", email=ADA, profile="geheim7"), "profile"),
    "a profile as a number": (lambda p: p.track("M", email=ADA, profile=7), "profile"),
    "a profile beside an anonymous id alone": (
        lambda p: p.track("M", anonymous_id="a", profile={"first_name": "A"}),
        "profile",
    ),
    "a profile too large": (
        lambda p: p.track("M", email=ADA, profile={"title": "x" * 100_000}),
        "identify",
    ),
    "track_once with an id": (
        lambda p: p.track_once("M", email=ADA, unique_id="mine"),
        "unique_id",
    ),
    "a set among the properties": (
        lambda p: p.identify(email=ADA, properties={"a": {1}}),
        "properties.a",
    ),
    "a list id that is a name": (lambda p: p.subscribe("no list id", email=ADA), "list_id"),
    "a list without a name": (lambda p: p.create_list(None), "list_name"),
    "delete by two identifiers": (
        lambda p: p.delete_profile(email=ADA, phone_number=PHONE),
        "email | phone_number",
    ),
}


@pytest.mark.parametrize(("call", "field"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_input_raises_at_the_call_and_stores_nothing(away, call, field, stored):
    producer = Producer(away)

    with pytest.raises(InvalidCommandError) as caught:
        call(producer)

    assert caught.value.field.startswith(field)
    assert "geheim7" not in str(caught.value)
    assert stored(away) == []
    producer.close()


class Memory(Verbs):
    """The smallest thing that has all verbs."""

    def __init__(self):
        self.together = []

    def enqueue_together(self, commands, *, account="default"):
        self.together.append((account, *commands))
        return [f"id-{number}" for number, _ in enumerate(commands)]


def test_whoever_stores_commands_together_has_all_verbs():
    memory = Memory()

    identity = memory.track("M", email=ADA, profile={"first_name": "Ada"}, account="shop_2")
    memory.track_once("M", email=ADA)

    (account, identify, track), (_, once) = memory.together
    assert (account, type(identify), type(track)) == ("shop_2", Identify, Track)
    assert identity == "id-1"
    assert once.unique_id == TRACK_ONCE_ID


@pytest.mark.parametrize("verb", ["enqueue", "enqueue_together", "enqueue_many"])
@pytest.mark.parametrize("what", [{"verb": "track"}, "track", None])
def test_what_is_no_command_is_refused_before_it_is_stored(away, stored, verb, what):
    producer = Producer(away)
    given = what if verb == "enqueue" else [what]

    with pytest.raises(InvalidCommandError) as caught:
        getattr(producer, verb)(given)

    assert str(caught.value) == f"command: must be a command, not {type(what).__name__}"
    assert stored(away) == []
    producer.close()


def test_one_bad_command_keeps_those_beside_it_from_being_stored(away, stored):
    producer = Producer(away)

    with pytest.raises(InvalidCommandError, match="must be a command"):
        producer.enqueue_together([Track(metric="M", email=ADA), "track"])

    assert stored(away) == []
    producer.close()


@pytest.mark.parametrize(("verb", "arguments", "named"), [row[:3] for row in VERBS])
def test_every_verb_goes_through_the_one_method_that_a_derived_class_writes(verb, arguments, named):
    memory = Memory()

    assert getattr(memory, verb)(*arguments, **named, account="shop_2") == "id-0"
    assert memory.enqueue(Track(metric="M", email=ADA)) == "id-0"

    assert [account for account, _ in memory.together] == ["shop_2", "default"]
