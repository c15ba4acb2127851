"""Subscriptions at Klaviyo: a newer withdrawal there supersedes a late subscribe."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from msgspec.structs import replace

from klaviyo_relay import Subscribe
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.outcome import Dead, Dropped
from klaviyo_relay_worker.plan.batch import Ledger, Part
from klaviyo_relay_worker.plan.subscriptions import is_late, wanted_at_klaviyo
from klaviyo_relay_worker.plan.withdrawals import SENT, Withdrawals

PHONE = "+15005550006"
LIST = "AAAAAA"


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def unsubscribed(when, **more):
    return {"consent": "UNSUBSCRIBED", "consent_timestamp": at(when), **more}


def suppressed(when, reason):
    return {"consent": "SUBSCRIBED", "suppression": [{"reason": reason, "timestamp": at(when)}]}


def list_suppressed(when, list_id=LIST):
    return {"list_suppressions": [{"list_id": list_id, "timestamp": at(when)}]}


def profile(email=None, phone=None, *, email_marketing=None, sms_marketing=None):
    found = {
        "email": {"marketing": email_marketing or {}}, "sms": {"marketing": sms_marketing or {}},
    }  # fmt: skip
    return {"attributes": {"email": email, "phone_number": phone, "subscriptions": found}}


def asked(talk, entry, *profiles, withdrawals=None, list_id=LIST):
    """The channels that are left, what became of the rest, and the requests."""
    ledger, requests = Ledger(), []
    parts = [Part.of(entry)]
    conversation = wanted_at_klaviyo(parts, list_id, withdrawals or Withdrawals(), ledger)
    answer = None
    while True:
        try:
            request = conversation.send(answer)
        except StopIteration as end:
            left = [part.command.channels for part in end.value]
            return left, ledger.outcomes, requests
        requests.append(request)
        name = unquote(request.path).partition("any(")[2].partition(",")[0]
        found = [one for one in profiles if one["attributes"][name] is not None]
        answer = talk.answer(200, {"data": found})


def by_mail(talk, **more):
    return talk.entry(Subscribe(list_id=LIST, email="a@x.io", channels=("email",), **more))


def left_of(talk, entry, marketing, **more):
    left, outcomes, _ = asked(talk, entry, profile("a@x.io", email_marketing=marketing), **more)
    is_dropped = outcomes == {entry.key: Dropped("newer_at_klaviyo")}
    assert bool(left) is not is_dropped
    return bool(left)


@pytest.mark.parametrize(("age", "late"), [(0, False), (599, False), (601, True)])
def test_a_subscribe_is_late_after_ten_minutes(talk, age, late):
    entry = talk.entry(Subscribe(email="a@x.io"), at=talk.now - age)
    assert is_late(entry, talk.now) is late


def test_what_was_redriven_is_late_at_once(talk):
    assert is_late(replace(talk.entry(Subscribe(email="a@x.io")), is_redriven=True), talk.now)


@pytest.mark.parametrize(("seconds", "is_left"), [(-2, True), (0, False), (2, False)])
def test_what_was_withdrawn_at_the_same_time_or_later_is_not_sent(talk, seconds, is_left):
    when = talk.now + seconds
    assert left_of(talk, by_mail(talk), unsubscribed(when)) is is_left


def test_of_two_times_the_later_one_counts(talk):
    marketing = unsubscribed(talk.now - 100, last_updated=at(talk.now + 1))
    assert not left_of(talk, by_mail(talk), marketing)


@pytest.mark.parametrize("timestamp", [None, "", "yesterday"], ids=str)
def test_a_withdrawal_without_a_time_counts_as_new(talk, timestamp):
    marketing = {"consent": "UNSUBSCRIBED", "consent_timestamp": timestamp}
    assert not left_of(talk, by_mail(talk), marketing)


@pytest.mark.parametrize(
    ("reason", "is_left"),
    [
        ("UNSUBSCRIBE", False),
        ("SPAM_COMPLAINT", False),
        ("USER_SUPPRESSED", False),
        ("HARD_BOUNCE", True),
        ("INVALID_EMAIL", True),
    ],
)
def test_only_a_persons_own_suppression_withdraws(talk, reason, is_left):
    assert left_of(talk, by_mail(talk), suppressed(talk.now + 1, reason)) is is_left


@pytest.mark.parametrize(("list_id", "is_left"), [(LIST, False), ("BBBBBB", True)])
def test_who_left_one_list_may_join_another(talk, list_id, is_left):
    assert left_of(talk, by_mail(talk), list_suppressed(talk.now + 1, list_id)) is is_left


@pytest.mark.parametrize("of_list", [LIST, None])
def test_a_subscribe_without_a_list_minds_no_list(talk, of_list):
    marketing = list_suppressed(talk.now + 1, of_list)
    assert left_of(talk, by_mail(talk), marketing, list_id=None)


@pytest.mark.parametrize(
    "subscriptions_of",
    [{}, {"email": None}, {"email": {}}, {"email": {"marketing": None}}],
    ids=str,
)
def test_of_whom_klaviyo_says_nothing_nothing_is_withdrawn(talk, subscriptions_of):
    attributes = {"email": "a@x.io", "subscriptions": subscriptions_of}
    left, outcomes, _ = asked(talk, by_mail(talk), {"attributes": attributes})
    assert (left, outcomes) == ([("email",)], {})


def test_a_channel_that_was_withdrawn_is_taken_out_of_the_others(talk):
    command = Subscribe(
        list_id=LIST, email="A@x.io", phone_number=PHONE, channels=("email", "sms")
    )  # fmt: skip
    entry = talk.entry(command)
    left, outcomes, requests = asked(
        talk,
        entry,
        profile("a@X.io"),
        profile(phone=PHONE, sms_marketing=unsubscribed(talk.now + 1)),
    )
    assert (left, outcomes) == ([("email",)], {})
    assert [request.endpoint for request in requests] == [limits.GET_PROFILES] * 2
    assert 'any(email,["a@x.io"])' in unquote(requests[0].path)
    assert "additional-fields[profile]=subscriptions" in unquote(requests[0].path)


@pytest.mark.parametrize(
    ("seconds", "is_left"), [(-6, False), (0, True), (119, True), (121, False)]
)
def test_our_own_unsubscribe_is_no_change_at_klaviyo(talk, seconds, is_left):
    withdrawals = Withdrawals()
    withdrawals.learn("email:a@x.io", {SENT: int((talk.now + 500) * 1000)})
    marketing = unsubscribed(talk.now + 500 + seconds)
    assert left_of(talk, by_mail(talk), marketing, withdrawals=withdrawals) is is_left


def test_but_a_redriven_subscribe_has_lost_its_place_behind_it(talk):
    withdrawals = Withdrawals()
    withdrawals.learn("email:a@x.io", {SENT: int(talk.now * 1000)})
    entry = replace(by_mail(talk), is_redriven=True)
    assert not left_of(talk, entry, unsubscribed(talk.now + 1), withdrawals=withdrawals)


def test_an_address_that_klaviyo_does_not_look_for_is_refused_alone(talk):
    entries = talk.entries(*(Subscribe(email=f"{name}@x.io") for name in ("bad", "good")))
    ledger = Ledger()
    conversation = wanted_at_klaviyo(
        [Part.of(one) for one in entries], None, Withdrawals(), ledger
    )  # fmt: skip
    answer = None
    while True:
        try:
            request = conversation.send(answer)
        except StopIteration as end:
            left = end.value
            break
        is_bad = "bad" in request.path
        answer = talk.refusal("filter") if is_bad else talk.answer(200, {"data": []})
    assert [part.entries for part in left] == [(entries[1],)]
    assert [type(outcome) for outcome in ledger.outcomes.values()] == [Dead]
