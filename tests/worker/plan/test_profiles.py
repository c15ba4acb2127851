"""Profiles: one row a person, the person's order kept, and clearing by the one call that clears."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entries import entry_of
from klaviyo_relay import Identify
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.outcome import Dead, Delivered, Following
from klaviyo_relay_worker.plan import profiles
from klaviyo_relay_worker.plan.batch import Entry, Ledger, Part, Situation


def planned(entries, **situation):
    return profiles.choose(entries, Situation(now=0.0, **situation))


def people(number):
    return [Identify(email=f"p{n}@x.io", first_name="Ada") for n in range(number)]


def rows(talk, request):
    return talk.body(request)["data"]["attributes"]["profiles"]["data"]


JOB = {"data": {"type": "profile-bulk-import-job", "id": "JOB1"}}


def test_a_few_go_singly(talk):
    batches = planned(talk.entries(*people(4)))
    assert [batch.endpoint for batch in batches] == [limits.IMPORT_PROFILE] * 4


def test_a_backlog_goes_in_one_import_job_and_is_followed(talk):
    [batch] = planned(talk.entries(*people(200)))
    ledger, [request] = talk.converse(batch, lambda _: talk.answer(202, JOB))
    assert request.endpoint == limits.BULK_IMPORT_PROFILES
    assert list(ledger.outcomes.values()) == [Following("JOB1", row) for row in range(200)]


def test_a_job_takes_ten_thousand_rows(talk):
    entries = talk.entries(*people(10_001))
    [batch] = planned(entries)
    assert (len(batch.entries), batch.is_full) == (10_000, True)


def test_the_commands_of_a_person_become_one_row(talk):
    commands = [Identify(email="A@x.io", properties={f"p{n}": n}) for n in range(3)]
    [batch] = planned(talk.entries(*people(5), *commands))
    ledger, [request] = talk.converse(batch, lambda _: talk.answer(202, JOB))
    assert len(rows(talk, request)) == 6
    assert rows(talk, request)[5]["attributes"]["properties"] == {"p0": 0, "p1": 1, "p2": 2}
    assert list(ledger.outcomes.values())[5:] == [Following("JOB1", 5)] * 3


EMAILS = st.sampled_from([None, "a@x.io", "A@X.io", "b@x.io"])
EXTERNAL = st.sampled_from([None, "one", "two"])
IDENTIFIES = st.builds(
    lambda email, external_id, value, how: Identify(
        email=email or (None if external_id else "c@x.io"),
        external_id=external_id,
        **{
            "set": {"properties": {"k": value}},
            "clear": {"unset": ["first_name"]},
            "append": {"append": {"k": value}},
        }[how],
    ),
    EMAILS,
    EXTERNAL,
    st.integers(0, 9),
    st.sampled_from(["set", "set", "clear", "append"]),
)


@given(st.lists(IDENTIFIES, max_size=25), st.booleans())
def test_all_go_in_the_end_and_each_person_in_order(commands, is_idle):
    left = [entry_of(command, number) for number, command in enumerate(commands)]
    place = {entry.key: number for number, entry in enumerate(left)}
    sent: list[Entry] = []
    while left:
        batches = planned(left, is_idle=is_idle)
        together = [entry for batch in batches for entry in batch.entries]
        assert together, "a plan that never ends"
        # Within one plan requests travel at the same time: only one request a person, and what it
        # carries is coalesced. Compare with what is still behind.
        for entry in together:
            earlier = [one for one in left if place[one.key] < place[entry.key]]
            behind = [one for one in earlier if one not in together]
            assert all(set(one.identities).isdisjoint(entry.identities) for one in behind)
        sent += together
        left = [entry for entry in left if entry not in together]
    assert sorted(place[entry.key] for entry in sent) == list(range(len(commands)))


@given(st.lists(IDENTIFIES, min_size=5, max_size=25))
def test_no_two_requests_of_a_plan_and_no_two_rows_share_a_person(commands):
    entries = [entry_of(command, number) for number, command in enumerate(commands)]
    resources = []
    for batch in planned(entries):
        conversation = batch.converse(Ledger())
        resources.append(next(conversation))
        conversation.close()
    seen = []
    for request in resources:
        data = msgspec.json.decode(request.body)["data"]
        found = [data] if data["type"] == "profile" else data["attributes"]["profiles"]["data"]
        seen += [
            {
                value.lower()
                for value in map(row["attributes"].get, ("email", "external_id"))
                if value
            }
            for row in found
        ]
    for at, one in enumerate(seen):
        assert all(one.isdisjoint(other) for other in seen[at + 1 :])


def test_clearing_an_attribute_goes_singly_with_null(talk):
    entries = talk.entries(*people(20), Identify(email="z@x.io", unset=["last_name", "custom"]))
    [batch] = planned(entries)
    ledger, [request] = talk.converse(batch, lambda _: talk.answer(200))
    assert request.endpoint == limits.IMPORT_PROFILE
    assert talk.body(request)["data"] == {
        "type": "profile",
        "attributes": {"email": "z@x.io", "last_name": None},
        "meta": {"patch_properties": {"unset": ["custom"]}},
    }
    assert list(ledger.outcomes.values()) == [Delivered()]


def test_clearing_the_location_clears_its_members(talk):
    # Klaviyo's OpenAPI document does not allow null for the location itself.
    [batch] = planned(talk.entries(Identify(email="z@x.io", unset=["location"])))
    _, [request] = talk.converse(batch, lambda _: talk.answer(200))
    location = talk.body(request)["data"]["attributes"]["location"]
    assert len(location) == 10
    assert set(location.values()) == {None}


def test_clearing_a_custom_property_needs_no_single_request(talk):
    entries = talk.entries(*people(5), Identify(email="z@x.io", unset=["custom"]))
    [batch] = planned(entries)
    assert batch.endpoint == limits.BULK_IMPORT_PROFILES


def test_no_null_is_ever_in_an_import_job(talk):
    entries = talk.entries(*people(6))
    _, [request] = talk.converse(planned(entries)[0], lambda _: talk.answer(202, JOB))
    assert b"null" not in request.body


@pytest.mark.parametrize("number", [1, 30])
def test_who_is_held_waits(talk, number):
    entries = talk.entries(*people(number))
    held = frozenset(["email:p0@x.io"])
    assert not any(entries[0] in batch.entries for batch in planned(entries, held=held))


def test_two_large_commands_of_one_person_never_end_the_planning(talk):
    commands = [
        Identify(email="a@x.io", properties={f"{c}{n}": 1 for n in range(300)}) for c in "ab"
    ]
    [batch] = planned(talk.entries(*people(5), *commands))
    assert len(batch.entries) == 6


def test_a_refused_coalesced_row_is_taken_apart_in_order(talk):
    commands = [Identify(email="a@x.io", properties={"p": n}) for n in range(3)]
    sent = []

    def klaviyo(request):
        if request.endpoint == limits.BULK_IMPORT_PROFILES:
            bad = [
                n for n, row in enumerate(rows(talk, request)) if "properties" in row["attributes"]
            ]
            if bad:
                return talk.refusal(f"/data/attributes/profiles/data/{bad[0]}/attributes/email")
            return talk.answer(202, JOB)
        value = talk.body(request)["data"]["attributes"]["properties"]["p"]
        sent.append(value)
        return talk.refusal("/data") if value == 1 else talk.answer(200)

    entries = talk.entries(*people(5), *commands)
    ledger, _ = talk.converse(planned(entries)[0], klaviyo)
    assert sent == [0, 1, 2]
    kinds = [type(ledger.outcomes[entry.key]) for entry in entries]
    assert kinds == [Following] * 5 + [Delivered, Dead, Delivered]


def test_a_body_stays_within_five_megabytes(talk):
    commands = [Identify(email=f"p{n}@x.io", properties={"x": "é" * 40_000}) for n in range(100)]
    [batch] = planned(talk.entries(*commands))
    body = profiles.bulk_request([Part.of(entry) for entry in batch.entries]).body
    assert 4_000_000 < len(body) <= 5_000_000
    assert batch.is_full


@pytest.mark.parametrize("is_idle", [True, False], ids=["alone", "beside others"])
def test_a_single_does_not_wait_for_a_batch_to_grow(talk, is_idle):
    clearing = [Identify(email=f"p{n}@x.io", unset=["last_name"]) for n in range(20)]
    batches = planned(talk.entries(*clearing), is_idle=is_idle)
    assert [batch.is_full for batch in batches] == [True] * profiles.SINGLES_MOST
