"""Withdrawals: what takes which consent back, by place and by time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from klaviyo_relay import AddToList, Subscribe, Suppress, Unsubscribe
from klaviyo_relay_worker.outcome import Dropped, Rule
from klaviyo_relay_worker.plan.batch import Ledger, Part
from klaviyo_relay_worker.plan.withdrawals import (
    EVERYWHERE,
    SENT,
    SUPPRESSION,
    Withdrawals,
    addresses_of,
    covers,
    narrowed,
    own_time,
    place_of,
    places_of,
    still_wanted,
)

PHONE = "+15005550006"
NEWS = {"News": "AAAAAA"}


@pytest.mark.parametrize(
    ("command", "addresses"),
    [
        (Subscribe(email="A@x.io", channels=("email",)), [("email", "email:a@x.io")]),
        (
            Unsubscribe(email="a@x.io", phone_number=PHONE, channels=("email", "sms")),
            [("email", "email:a@x.io"), ("sms", f"phone:{PHONE}")],
        ),
        (Suppress(email="A@x.io"), [("email", "email:a@x.io")]),
        (AddToList(list_id="AAAAAA", email="a@x.io"), []),
    ],
    ids=["subscribe", "two channels", "suppress", "no consent"],
)
def test_a_command_is_about_addresses(command, addresses):
    assert addresses_of(command) == addresses


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (Unsubscribe(email="a@x.io"), EVERYWHERE),
        (Unsubscribe(email="a@x.io", list_id="AAAAAA"), "id:AAAAAA"),
        (Unsubscribe(email="a@x.io", list_name="News"), "name:News"),
        (Suppress(email="a@x.io"), SUPPRESSION),
    ],
    ids=["everywhere", "id", "name", "suppression"],
)
def test_a_command_has_a_place(command, place):
    assert place_of(command) == place


def test_a_list_is_spoken_of_by_all_its_names():
    by_id = Unsubscribe(email="a@x.io", list_id="AAAAAA")
    by_name = Unsubscribe(email="a@x.io", list_name="News")
    unknown = Unsubscribe(email="a@x.io", list_name="Other")
    assert (
        set(places_of(by_id, NEWS)) == set(places_of(by_name, NEWS)) == {"id:AAAAAA", "name:News"}
    )
    assert places_of(unknown, NEWS) == ["name:Other"]


@pytest.mark.parametrize(
    ("place", "wanted", "is_covered"),
    [
        (EVERYWHERE, EVERYWHERE, True),
        (EVERYWHERE, "id:AAAAAA", True),
        ("id:AAAAAA", EVERYWHERE, False),
        ("id:AAAAAA", "id:AAAAAA", True),
        ("id:AAAAAA", "id:BBBBBB", False),
        ("id:AAAAAA", "name:News", True),
        ("name:News", "id:AAAAAA", True),
        ("name:News", "id:BBBBBB", False),
        ("name:Unknown", "id:AAAAAA", True),
        ("name:Unknown", "name:News", False),
        (SUPPRESSION, "id:AAAAAA", False),
        (SENT, "id:AAAAAA", False),
    ],
)
def test_a_withdrawal_covers_its_place(place, wanted, is_covered):
    assert covers(place, wanted, NEWS) is is_covered


@pytest.mark.parametrize(("later", "is_withdrawn"), [(-1, False), (0, True), (1, True)])
def test_of_equal_times_the_withdrawal_wins(talk, later, is_withdrawn):
    entry = talk.entry(Subscribe(email="a@x.io"))
    known = Withdrawals()
    known.learn("email:a@x.io", {EVERYWHERE: entry.envelope.at + later})
    assert known.withdrawn(entry, EVERYWHERE, {}) == ({"email"} if is_withdrawn else set())


def test_times_are_never_set_back(talk):
    entry = talk.entry(Subscribe(email="a@x.io"))
    known = Withdrawals()
    for at in (entry.envelope.at + 5, entry.envelope.at - 5):
        known.learn("email:a@x.io", {EVERYWHERE: at})
    assert known.withdrawn(entry, EVERYWHERE, {}) == {"email"}


def test_consent_is_as_old_as_it_says(talk):
    entry = talk.entry(Subscribe(email="a@x.io", consented_at="2024-01-02T03:04:05Z"))
    assert own_time(entry) == 1_704_164_645_000
    known = Withdrawals()
    known.learn("email:a@x.io", {EVERYWHERE: 1_704_164_646_000})
    assert known.withdrawn(entry, EVERYWHERE, {}) == {"email"}


def test_a_suppression_takes_back_only_what_was_redriven(talk):
    entry = talk.entry(Subscribe(email="a@x.io"))
    known = Withdrawals()
    known.note(talk.entries(Suppress(email="a@x.io"), at=talk.now + 1))
    assert known.withdrawn(entry, EVERYWHERE, {}) == set()
    assert known.withdrawn(replace(entry, is_redriven=True), EVERYWHERE, {}) == {"email"}


def test_another_address_is_not_withdrawn(talk):
    known = Withdrawals()
    known.note(talk.entries(Unsubscribe(email="b@x.io"), at=talk.now + 1))
    assert known.withdrawn(talk.entry(Subscribe(email="a@x.io")), EVERYWHERE, {}) == set()


@pytest.mark.parametrize(
    ("milliseconds", "is_ours"),
    [(-5_001, False), (-5_000, True), (0, True), (120_000, True), (120_001, False)],
)
def test_our_own_withdrawal_is_dated_by_klaviyo_a_while_later(milliseconds, is_ours):
    known = Withdrawals()
    known.learn("email:a@x.io", {SENT: 1_000_000})
    assert known.is_ours("email:a@x.io", 1_000_000 + milliseconds) is is_ours
    assert not known.is_ours("email:b@x.io", 1_000_000)


def test_commands_of_one_part_are_dropped_one_by_one(talk):
    command = Subscribe(email="a@x.io", phone_number=PHONE, channels=("email", "sms"))
    old, new = talk.entry(command, at=talk.now - 10), talk.entry(command)
    part = Part((old, new), command)
    known = Withdrawals()
    known.learn(f"phone:{PHONE}", {EVERYWHERE: new.envelope.at})
    known.learn("email:a@x.io", {EVERYWHERE: old.envelope.at})
    ledger = Ledger()
    [left] = still_wanted([part], EVERYWHERE, known, {}, ledger)
    assert (left.entries, left.command.channels) == ((new,), ("email",))
    assert ledger.outcomes == {old.key: Dropped(Rule.SUPERSEDED)}


def test_a_part_of_which_nothing_is_left_is_gone(talk):
    entry = talk.entry(Subscribe(email="a@x.io"))
    ledger = Ledger()
    left = narrowed([Part.of(entry)], lambda _: {"email"}, Rule.NEWER_AT_KLAVIYO, ledger)
    assert left == []
    assert ledger.outcomes == {entry.key: Dropped(Rule.NEWER_AT_KLAVIYO)}
