"""Taking entries in order: nobody overtakes an earlier command of the same person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entries import entry_of
from klaviyo_relay import AddToList, CreateList, DeleteProfile, Identify, Track
from klaviyo_relay_worker.outcome import Dead, Delivered, Failure
from klaviyo_relay_worker.plan.batch import BODY_MAX_BYTES, Ledger, Part, identities
from klaviyo_relay_worker.plan.batch import take_in_order as take


def who(*names):
    fields = {}
    for name in names:
        fields["email" if "@" in name else "external_id"] = name
    return Identify(**fields)


def everything(_entry):
    return True


def test_one_command_a_person_is_taken():
    entries = [entry_of(who("a@x.io"), 1), entry_of(who("a@x.io"), 2), entry_of(who("b@x.io"), 3)]
    assert take(entries, (), everything, 10) == ([entries[0], entries[2]], False)


def test_a_command_that_is_not_wanted_holds_back_later_ones_of_its_person():
    entries = [entry_of(who("a@x.io"), 1), entry_of(who("a@x.io"), 2), entry_of(who("b@x.io"), 3)]
    found, _ = take(entries, (), lambda entry: entry is not entries[0], 10)
    assert found == [entries[2]]


def test_who_is_held_is_not_taken():
    entries = [entry_of(who("A@x.io"), 1), entry_of(who("b@x.io"), 2)]
    assert take(entries, {"email:a@x.io"}, everything, 10)[0] == [entries[1]]


def test_holding_spreads_over_shared_identifiers():
    entries = [
        entry_of(who("a@x.io"), 1),
        entry_of(who("a@x.io", "one"), 2),
        entry_of(who("one"), 3),
    ]
    assert take(entries, (), everything, 10)[0] == [entries[0]]


def test_the_batch_is_full_at_the_count():
    entries = [entry_of(who(f"{n}@x.io"), n) for n in range(5)]
    assert take(entries, (), everything, 3) == (entries[:3], True)


def test_the_batch_is_full_at_the_bytes_but_never_empty():
    entries = [entry_of(who(f"{n}@x.io"), n, size=BODY_MAX_BYTES) for n in range(3)]
    assert take(entries, (), everything, 100) == (entries[:1], True)


def test_commands_about_nobody_never_hold_each_other():
    entries = [entry_of(CreateList(list_name=f"L{n}"), n) for n in range(3)]
    assert take(entries, (), everything, 9)[0] == entries


PEOPLE = st.lists(st.sampled_from(["a@x.io", "b@x.io", "one", "two"]), min_size=1, max_size=2)


@given(st.lists(st.tuples(PEOPLE, st.booleans()), max_size=30), st.integers(1, 10))
def test_nothing_taken_overtakes_anything_of_the_same_person(given_, most):
    entries = [entry_of(who(*names), n) for n, (names, _) in enumerate(given_)]
    wanted = {entry.key: is_wanted for entry, (_, is_wanted) in zip(entries, given_, strict=True)}
    found, _ = take(entries, (), lambda entry: wanted[entry.key], most)
    assert len(found) <= most
    for entry in found:
        earlier = entries[: entries.index(entry)]
        assert all(set(one.identities).isdisjoint(entry.identities) for one in earlier)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (Track(metric="M", email="Ada@X.io"), ("email:ada@x.io",)),
        (Track(metric="M", anonymous_id="Q"), ("anonymous:Q",)),
        (Identify(phone_number="+15005550006"), ("phone:+15005550006",)),
        (Identify(email="a@x.io", external_id="E"), ("email:a@x.io", "external:E")),
        (DeleteProfile(profile_id="01ABC"), ("id:01ABC",)),
        (AddToList(list_id="AAAAAA", email="a@x.io"), ("email:a@x.io",)),
        (CreateList(list_name="L"), ()),
    ],
    ids=["lower case", "anonymous", "phone", "two", "profile", "list", "nobody"],
)  # fmt: skip
def test_identities_are_the_identifiers_in_normal_form(command, expected):
    assert identities(command) == expected


def test_the_ledger_settles_all_commands_of_a_part():
    one, two = entry_of(who("a@x.io"), 1), entry_of(who("a@x.io"), 2)
    ledger = Ledger()
    ledger.settle_parts([Part((one, two), one.command)], Delivered())
    assert ledger.outcomes == {"1-0": Delivered(), "2-0": Delivered()}


def test_the_ledger_refuses_with_the_failure():
    ledger = Ledger()
    ledger.refuse([entry_of(who("a@x.io"), 1)], Failure(code="invalid"))
    assert ledger.outcomes == {"1-0": Dead(Failure(code="invalid"))}
