import json
import os
import re
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

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
from klaviyo_relay import envelope as wire
from klaviyo_relay.commands import VERBS
from klaviyo_relay.envelope import Envelope, decode, encode, lane_of, new_id, new_ids

GOLDEN = Path(__file__).parent / "golden"
ADA = "ada@lovelace.dev"
PHONE = "+15005550006"

# Every field of every verb, once. Change a golden file only with a new schema version.
FULL = {
    "track": Track(
        metric="Placed Order",
        email=ADA,
        phone_number=PHONE,
        external_id="crm-1",
        profile_id="01GDDKASAP8TKDDA2GRZDSVP4H",
        anonymous_id="anon-1",
        properties={"items": [{"sku": "A", "price": 9.5, "ok": True}], "note": None, "ü": "✓"},
        value=23.99,
        value_currency="USD",
        time=datetime(2026, 1, 31, 12, tzinfo=UTC),
        unique_id="order-1",
        backfill=True,
    ),
    "identify": Identify(
        email=ADA,
        phone_number=PHONE,
        external_id="crm-1",
        profile_id="01GDDKASAP8TKDDA2GRZDSVP4H",
        first_name="Ada",
        last_name="Lovelace",
        organization="Analytical",
        locale="en-GB",
        title="Countess",
        image="https://example.com/ada.png",
        location={"city": "London", "latitude": 51.5, "longitude": -0.1, "zip": "W1"},
        properties={"plan": "gold"},
        unset=["nickname"],
        append={"tags": ["a", "b"]},
        unappend={"groups": "c"},
    ),
    "add_to_list": AddToList(list_id="Y6nRLr", email=ADA, phone_number=PHONE, external_id="crm-1"),
    "remove_from_list": RemoveFromList(
        list_name="News", email=ADA, phone_number=PHONE, external_id="crm-1"
    ),
    "create_list": CreateList(list_name="News", opt_in_process="double_opt_in"),
    "rename_list": RenameList(list_name="News", new_name="Old news"),
    "delete_list": DeleteList(list_id="Y6nRLr"),
    "subscribe": Subscribe(
        list_id="Y6nRLr",
        email=ADA,
        phone_number=PHONE,
        channels=["email", "sms"],
        consented_at="2026-01-31T12:00:00+01:00",
        source="checkout",
    ),
    "unsubscribe": Unsubscribe(list_name="News", email=ADA, phone_number=PHONE, channels=["sms"]),
    "suppress": Suppress(email=ADA),
    "unsuppress": Unsuppress(email=ADA),
    "delete_profile": DeleteProfile(email=ADA),
}


def golden(verb):
    return Envelope(
        id="019471e2-7c00-7abc-8def-0123456789ab",
        account="default",
        at=1_769_860_800_000,
        command=FULL[verb],
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def message(**changes):
    """A good envelope as JSON, with changes; None removes a member."""
    found = {
        # Always the same: it is part of the tests' names.
        "id": "01a21532-86f9-7937-9347-06cdf39eed82",
        "account": "default",
        "at": 1,
        "command": {"verb": "track", "metric": "M", "email": ADA},
    } | changes
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode()


def test_there_is_a_golden_file_for_each_verb_and_no_other():
    assert set(FULL) == set(VERBS)
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_the_wire_form_of_a_verb_is_that_of_its_golden_file_to_the_byte(verb):
    assert encode(golden(verb)) + b"\n" == (GOLDEN / f"{verb}.json").read_bytes()


@pytest.mark.parametrize("verb", VERBS)
def test_a_golden_file_reads_as_the_envelope_that_it_was(verb):
    assert decode((GOLDEN / f"{verb}.json").read_bytes()) == golden(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_a_worker_reads_the_same_from_a_golden_file(verb):
    text = (GOLDEN / f"{verb}.json").read_bytes()

    received = wire.receive(text)

    assert encode(received) + b"\n" == text
    assert received.command.lane == VERBS[verb].lane


@pytest.mark.parametrize("verb", VERBS)
def test_a_golden_file_shows_every_field_of_its_verb(verb):
    shown = set(json.loads((GOLDEN / f"{verb}.json").read_bytes())["command"])
    alternatives = {"list_id", "list_name"}
    if verb == "delete_profile":
        alternatives = {"email", "phone_number", "profile_id"}

    missing = set(VERBS[verb].__struct_fields__) - shown

    assert missing <= alternatives


# --- round trip -----------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: not name.isspace()
)
properties = st.dictionaries(
    names,
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | names
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)  # fmt: skip
additions = st.dictionaries(
    names.map("a:".__add__), st.integers(-9, 9) | names | st.lists(names, max_size=3), max_size=3
)
emails = st.from_regex(r"\A[a-z0-9]{1,8}@[a-z]{2,8}\.[a-z]{2,4}\Z")
phones = st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z", alphabet="+0123456789")
moments = st.datetimes(datetime(2000, 1, 1), datetime(2025, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
maybe = {
    "email": emails, "phone_number": phones, "external_id": names, "profile_id": names,
    "anonymous_id": names, "value": st.floats(allow_nan=False, allow_infinity=False),
    "time": moments, "unique_id": names, "backfill": st.booleans(), "properties": properties,
    "first_name": names, "last_name": names, "organization": names, "locale": names,
    "title": names, "image": names, "append": additions, "consented_at": moments, "source": names,
    "opt_in_process": st.sampled_from(["single_opt_in", "double_opt_in"]),
    "location": st.fixed_dictionaries({}, optional={"city": names, "latitude": st.floats(-90, 90)}),
}  # fmt: skip
sure = {"metric": names, "list_name": names, "new_name": names}


def commands(kind):
    """Any command of a kind, always with an email (which is what every one but lists' take)."""
    fields = set(kind.__struct_fields__)
    needed = {name: sure[name] for name in fields & set(sure)}
    optional = {name: maybe[name] for name in fields & set(maybe)}
    if "email" in fields:
        needed["email"] = emails
        optional.pop("email")
    if kind is DeleteProfile:
        optional = {}
    return st.fixed_dictionaries(needed, optional=optional).map(lambda given: kind(**given))


envelopes = st.builds(
    Envelope,
    id=st.uuids().map(str),
    account=st.from_regex(r"\A[a-z][a-z0-9_]{0,31}\Z"),
    at=st.integers(0, 2**52),
    command=st.one_of([commands(kind) for kind in VERBS.values()]),
    trace=st.none() | names,
)


@given(envelope=envelopes)
def test_an_envelope_comes_back_as_it_was(envelope):
    text = encode(envelope)

    assert decode(text) == envelope
    assert encode(decode(text)) == text
    assert b"\n" not in text


@given(envelope=envelopes)
def test_a_worker_can_send_on_what_it_received_without_a_change(envelope):
    text = encode(envelope)

    assert decode(encode(wire.receive(text))) == envelope


# --- what is refused ------------------------------------------------------------------------------


NO_ENVELOPES = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "an empty object": b"{}",
    "no JSON": b"not json",
    "no UTF-8": b"\xff\xfe",
    "a pickle": b"\x80\x04\x95",
    "cut short": message()[:-1],
    "with a tail": message() + b"x",
    "the next version": message(v=2),
    "a version far off": message(v=999),
    "a version as text": message(v="1"),
    "no id": message(id=None),
    "no account": message(account=None),
    "no time": message(at=None),
    "a time as text": message(at="now"),
    "no command": message(command=None),
    "a command without a verb": message(command={"metric": "M", "email": ADA}),
    "an unknown verb": message(command={"verb": "drop_table", "email": ADA}),
    "an unknown field": message(
        command={"verb": "track", "metric": "M", "email": ADA, "e_mail": "x"}
    ),
    "a field left out": message(command={"verb": "track", "email": ADA}),
    "a field of another type": message(command={"verb": "suppress", "email": 5}),
}


@pytest.mark.parametrize("read", [decode, wire.receive], ids=["decode", "receive"])
@pytest.mark.parametrize("bad", NO_ENVELOPES.values(), ids=NO_ENVELOPES)
def test_what_is_not_an_envelope_that_this_release_reads_is_refused(read, bad):
    with pytest.raises(msgspec.DecodeError):
        read(bad)


def test_an_unknown_member_of_the_envelope_is_refused():
    with pytest.raises(msgspec.DecodeError):
        decode(message(priority=1))


def test_a_message_nested_without_end_is_refused():
    deep = message(command={"verb": "track", "metric": "M", "email": ADA, "properties": {"a": 7}})

    with pytest.raises(msgspec.DecodeError):
        decode(deep.replace(b"7", b"[" * 100_000 + b"]" * 100_000))


def test_the_schema_version_is_on_the_wire():
    assert json.loads(encode(golden("track")))["v"] == 1


@pytest.mark.parametrize(
    "command",
    [
        {"verb": "track", "metric": "M"},
        {"verb": "track", "metric": "M", "email": "geheim7"},
        {"verb": "identify", "email": ADA, "location": {"planet": "geheim7"}},
    ],
    ids=["nobody", "email", "location"],
)
def test_decode_checks_a_command_as_strictly_as_the_call_and_repeats_no_value(command):
    with pytest.raises(msgspec.DecodeError) as caught:
        decode(message(command=command))

    assert "geheim7" not in str(caught.value)


def test_a_consent_of_this_moment_can_be_read_where_the_clock_is_two_seconds_behind(monkeypatch):
    text = encode(
        Envelope(
            id="0",
            account="default",
            at=0,
            command=Subscribe(email=ADA, consented_at=datetime.now(UTC)),
        )
    )

    class Behind(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(datetime.now(UTC).timestamp() - 2, tz)

    monkeypatch.setattr("klaviyo_relay.validation.datetime", Behind)

    assert wire.receive(text)


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (Track(metric="M", email=ADA, properties={str(n): "x" * 99_999 for n in range(60)}), 4.9e6),
        (Identify(email=ADA, properties={"a": "x" * 60_000, "b": "x" * 60_000}), 1e5),
    ],
    ids=["an event of 6 MB", "a profile of 120 KB"],
)
def test_a_command_larger_than_klaviyo_takes_is_refused_by_size(command, most):
    with pytest.raises(InvalidCommandError) as caught:
        encode(Envelope(id="0", account="default", at=0, command=command))

    assert caught.value.field == type(command).__name__.lower()
    assert str(int(most)) in caught.value.rule
    assert len(str(caught.value)) < 200


def test_an_event_of_nearly_five_megabytes_is_taken():
    command = Track(metric="M", email=ADA, properties={str(n): "x" * 99_999 for n in range(48)})

    assert len(encode(Envelope(id="0", account="default", at=0, command=command))) > 4_790_000


# --- ids ------------------------------------------------------------------------------------------


def test_ids_of_a_batch_are_uuids_of_version_7_and_all_different():
    ids = new_ids(5_000)

    assert len(set(ids)) == 5_000
    assert {(uuid.UUID(one).version, uuid.UUID(one).variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert {one[19] for one in ids} == set("89ab")


def test_an_id_is_a_uuid_of_version_7_as_rfc_9562_has_it():
    before = datetime.now(UTC).timestamp() * 1000
    identity = uuid.UUID(new_id())
    after = datetime.now(UTC).timestamp() * 1000

    assert str(identity) == str(identity).lower()
    assert identity.version == 7
    assert identity.variant == uuid.RFC_4122
    assert int(before) <= identity.int >> 80 <= after


def test_an_id_is_written_in_the_canonical_form():
    form = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

    assert all(form.fullmatch(new_id()) for _ in range(2_000))


@pytest.mark.parametrize(
    "nanoseconds", [0, 999_999, 1_000_000, 1_769_860_800_123_456_789, (2**48 - 1) * 10**6 + 999_999]
)
def test_an_id_carries_its_time_whatever_the_time(monkeypatch, nanoseconds):
    monkeypatch.setattr("klaviyo_relay.envelope.time.time_ns", lambda: nanoseconds)

    identity = uuid.UUID(new_id())

    assert identity.int >> 80 == nanoseconds // 1_000_000
    assert (identity.version, identity.variant) == (7, uuid.RFC_4122)
    assert identity.int >> 64 & 0xFFF == nanoseconds % 1_000_000 * 4096 // 1_000_000


def test_ids_sort_by_their_time(monkeypatch):
    moments = iter(range(1_769_860_800_000_000_000, 1_769_860_800_000_000_000 + 10**9, 250_000))
    monkeypatch.setattr("klaviyo_relay.envelope.time.time_ns", lambda: next(moments))

    ids = [new_id() for _ in range(3_000)]

    assert ids == sorted(ids)


def test_all_bits_that_may_be_random_are(monkeypatch):
    monkeypatch.setattr("klaviyo_relay.envelope.time.time_ns", lambda: 0)
    low = [uuid.UUID(new_id()).int & (2**62 - 1) for _ in range(200)]

    ever_set = ever_clear = 0
    for bits in low:
        ever_set |= bits
        ever_clear |= ~bits

    assert ever_set == 2**62 - 1
    assert ever_clear & (2**62 - 1) == 2**62 - 1


def test_ids_of_many_threads_differ():
    found = []
    threads = [
        threading.Thread(target=lambda: found.extend([new_id() for _ in range(2_000)]))
        for _ in range(8)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(found)) == 16_000


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_ids_of_forked_processes_differ_even_at_the_same_time(monkeypatch, in_forked_child):
    monkeypatch.setattr("klaviyo_relay.envelope.time.time_ns", lambda: 0)
    new_id()  # whatever there is to be warm is warm, and would be shared

    children = [in_forked_child(lambda: [os.getpid(), *(new_id() for _ in range(100))])
                for _ in range(3)]  # fmt: skip
    found = [identity for _, *ids in children for identity in ids]
    found += [new_id() for _ in range(100)]

    assert len({pid for pid, *_ in children}) == 3
    assert len(set(found)) == 400


# --- lanes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_only_events_profiles_and_lists_have_a_lane_for_bulk(verb):
    command = FULL[verb]
    own = lane_of(command)

    assert own in wire.LANES
    assert lane_of(command, bulk=True) in wire.LANES
    assert lane_of(command, bulk=True) == (own if own in ("consent", "privacy") else f"{own}:bulk")


def test_the_moment_of_an_envelope_is_in_utc():
    assert golden("track").enqueued_at == datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_an_envelope_is_frozen():
    with pytest.raises(AttributeError):
        golden("track").id = "1"
