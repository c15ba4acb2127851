"""Delivery, in this process: a real Redis, the sandbox for Klaviyo, the test for the doorbell.

What is promised: everything arrives or is dead in Klaviyo's words, once in effect, in few requests,
and no outage of any kind costs a command.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import closing

import pytest
from msgspec import structs
from redis.exceptions import ConnectionError as RedisConnectionError

from klaviyo_relay import (
    AddToList,
    CreateList,
    DeleteList,
    DeleteProfile,
    Identify,
    Producer,
    RemoveFromList,
    RenameList,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
    Unsuppress,
)
from klaviyo_relay.envelope import LANES
from klaviyo_relay.keys import split
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay_worker import courier, judge, limits, stray_watch, suspicion
from klaviyo_relay_worker import turn as turns
from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.explain import Explainer
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.plan import consent, lists, privacy, strays
from klaviyo_relay_worker.telemetry.event import Settled
from waiting import for_a_while

BULK = limits.BULK_CREATE_EVENTS
IMPORT = limits.BULK_IMPORT_PROFILES


@pytest.fixture(autouse=True)
def _deletions_are_checked_soon(monkeypatch):
    monkeypatch.setattr(privacy, "CHECK_AGAIN_SECONDS", 0.05)


def people_of(sandbox):
    return {one["email"]: one for one in sandbox.profiles()}


# --- every lane -----------------------------------------------------------------------------------


def test_every_lane_delivers(house, sandbox):
    list_id = sandbox.create_list("News")
    for bulk in (False, True):
        house.enqueue(
            Track(metric="Placed Order", email="a@shop.io"),
            Identify(email="a@shop.io", first_name="Ada"),
            AddToList(list_id=list_id, email="b@shop.io"),
            Subscribe(list_id=list_id, email="c@shop.io"),
            DeleteProfile(email=f"nobody{bulk}@shop.io"),
            bulk=bulk,
        )
    house.work_off()
    assert set(house.lanes()) == set(LANES)
    assert {name: house.numbers(name) for name in house.lanes()} == {
        name: {"delivered": 2 if name in ("consent", "privacy") else 1} for name in LANES
    }
    assert people_of(sandbox)["a@shop.io"]["first_name"] == "Ada"
    assert people_of(sandbox)["b@shop.io"]["lists"] == [list_id]
    assert sandbox.summary()["events"] == 2


@pytest.mark.parametrize("number", [1, 4, 5, 60])
def test_events_arrive_as_they_were_given(house, sandbox, number):
    house.enqueue(
        *(
            Track(metric="Placed Order", email=f"p{n}@shop.io", value=n, value_currency="EUR",
                  properties={"n": n}, time="2026-01-02T03:04:05Z")
            for n in range(number)
        )
    )  # fmt: skip
    house.work_off()
    events = sorted(sandbox.events(), key=lambda one: one["value"])
    assert [one["properties"] for one in events] == [{"n": n} for n in range(number)]
    assert {one["datetime"] for one in events} == {"2026-01-02T03:04:05+00:00"}


def test_an_identify_sets_clears_and_appends(house, sandbox):
    house.enqueue(
        Identify(
            email="a@shop.io", first_name="Ada", last_name="King", properties={"a": 1, "b": 2}
        ),
        Identify(email="a@shop.io", location={"city": "Bonn", "zip": "53111"}),
        Identify(email="a@shop.io", append={"tags": ["x", "y"]}),
        Identify(email="a@shop.io", unset=["last_name", "b", "location"], unappend={"tags": "x"}),
    )
    house.work_off()
    [profile] = sandbox.profiles()
    assert profile["properties"] == {"a": 1, "tags": ["y"]}
    assert (profile["first_name"], profile.get("last_name"), profile["location"]) == (
        "Ada",
        None,
        {},
    )


@pytest.mark.parametrize("number", [1, 300], ids=["singly", "in a job"])
def test_effects_on_a_person_come_in_order(house, sandbox, number):
    others = [Identify(email=f"p{n}@shop.io", first_name="X") for n in range(number)]
    steps = [Identify(email="a@shop.io", properties={"step": n, f"s{n}": n}) for n in range(20)]
    house.enqueue(*others, *steps, Identify(email="a@shop.io", unset=["first_name"]), *steps[:3])
    house.work_off()
    properties = people_of(sandbox)["a@shop.io"]["properties"]
    assert properties["step"] == 2
    assert len(properties) == 21


def test_lists_live_from_creation_to_deletion(house, sandbox):
    house.enqueue(
        CreateList(list_name="News"),
        *(AddToList(list_name="News", email=f"p{n}@shop.io") for n in range(10)),
        RemoveFromList(list_name="News", email="p3@shop.io"),
        RenameList(list_name="News", new_name="Weekly"),
        AddToList(list_name="Weekly", email="late@shop.io"),
        CreateList(list_name="Brief"),
        DeleteList(list_name="Brief"),
    )
    house.work_off()
    [found] = sandbox.summary()["lists"].values()
    assert found == {"name": "Weekly", "members": 10}
    assert "p3@shop.io" not in people_of(sandbox), "only the last word on a membership is sent"
    assert house.lanes()["lists"]["dropped_by_rule"] == {"superseded": 1}


@pytest.mark.parametrize(
    ("first", "dead"),
    [(DeleteList(list_name="Nightly"), 0), (RenameList(list_name="Nightly", new_name="Old"), 1)],
    ids=["delete", "rename"],
)
def test_a_list_made_anew_is_not_undone_by_what_came_before_it(
    house, sandbox, monkeypatch, first, dead
):
    monkeypatch.setattr(lists, "NAME_AGAIN_SECONDS", 0.2)
    anew = CreateList(list_name="Nightly"), AddToList(list_name="Nightly", email="a@shop.io")
    house.enqueue(first, *anew)
    house.work_off()
    assert list(sandbox.summary()["lists"].values()) == [{"name": "Nightly", "members": 1}]
    assert [letter.failure.code for letter in house.dead()] == ["unknown_list"] * dead


def test_who_creates_a_list_can_learn_its_id(house, sandbox):
    with closing(Producer(house.relay)) as producer:
        ids = [producer.create_list("News"), producer.create_list("News")]
        assert producer.created_list(ids[0]) is None
        producer.flush()
        house.work_off()
        [known] = sandbox.summary()["lists"]
        assert [producer.created_list(each, timeout=5) for each in ids] == [known, known]
        assert producer.created_list("unknown") is None
    told = Explainer(house.redis, house.relay).explain(ids[0])
    assert told.created_list == known


def test_a_list_made_by_an_attempt_whose_settlement_was_lost_is_the_one_that_is_told(
    house, sandbox, monkeypatch
):
    with closing(Producer(house.relay)) as producer:
        identity = producer.create_list("News")
        producer.flush()
        settle = Lane.settle
        lost = iter([ConnectionError("the connection broke before the settlement")])

        def settle_or_lose(*given, **more):
            for error in lost:
                raise error
            return settle(*given, **more)

        monkeypatch.setattr(Lane, "settle", settle_or_lose)
        with pytest.raises(ConnectionError):
            house.turn()
        house.work_off()
        [known] = sandbox.summary()["lists"]
        assert producer.created_list(identity) == known


def test_a_list_that_is_made_anew_under_its_name_takes_what_is_for_it(house, sandbox):
    old = sandbox.create_list("News")
    house.enqueue(AddToList(list_name="News", email="a@shop.io"))
    house.enqueue(Subscribe(list_name="News", email="b@shop.io"))
    house.work_off()
    # By a person, at Klaviyo.
    client = house.planner.accounts.client("default")
    client.send(Request(endpoint=limits.DELETE_LIST, path=f"/api/lists/{old}"))
    new = sandbox.create_list("News")
    house.enqueue(
        *(AddToList(list_name="News", email=f"p{n}@shop.io") for n in range(9)),
        RemoveFromList(list_name="News", email="p3@shop.io"),
    )
    house.enqueue(Subscribe(list_name="News", email="s@shop.io"))
    house.work_off()
    assert house.dead() == []
    members = {email for email, one in people_of(sandbox).items() if one.get("lists") == [new]}
    assert members == {f"p{n}@shop.io" for n in range(9) if n != 3} | {"s@shop.io"}


def test_a_list_name_may_be_used_before_another_lane_creates_it(house, sandbox, monkeypatch):
    monkeypatch.setattr(lists, "NAME_AGAIN_SECONDS", 0.05)
    house.enqueue(AddToList(list_name="News", email="a@shop.io"), bulk=True)
    house.turn()
    assert house.numbers("lists:bulk") == {"parked": 1}
    house.enqueue(CreateList(list_name="News"))
    house.work_off()
    assert list(sandbox.summary()["lists"].values()) == [{"name": "News", "members": 1}]


def test_consent_follows_the_last_word(house, sandbox):
    list_id = sandbox.create_list("News")
    house.enqueue(
        Subscribe(list_id=list_id, email="stays@shop.io"),
        Subscribe(list_id=list_id, email="goes@shop.io"),
        Unsubscribe(list_id=list_id, email="goes@shop.io"),
        Suppress(email="closed@shop.io"),
        Suppress(email="open@shop.io"),
        Unsuppress(email="open@shop.io"),
        Unsubscribe(email="out@shop.io"),
    )
    house.turn()
    house.turn()
    marketing = {
        email: one["subscriptions"]["email"]["marketing"]
        for email, one in people_of(sandbox).items()
    }
    assert marketing["stays@shop.io"]["consent"] == "SUBSCRIBED"
    assert "goes@shop.io" not in marketing, "a subscribe that was taken back was sent"
    assert marketing["out@shop.io"]["consent"] == "UNSUBSCRIBED"
    reasons = {e: [s["reason"] for s in m["suppression"]] for e, m in marketing.items()}
    assert (reasons["closed@shop.io"], reasons["open@shop.io"]) == (["USER_SUPPRESSED"], [])
    assert house.lanes()["consent"]["dropped_by_rule"] == {"superseded": 1}


def test_an_unsubscribe_of_a_list_is_never_global(house, sandbox, monkeypatch):
    monkeypatch.setattr(consent, "LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(consent, "MEMBERSHIP_SETTLES_SECONDS", 1.0)
    list_id = sandbox.create_list("News")
    house.enqueue(Identify(email="other@shop.io"), Subscribe(list_id=list_id, email="a@shop.io"))
    house.work_off()
    house.enqueue(
        *(Unsubscribe(list_id=list_id, email=f"{who}@shop.io") for who in ("a", "other", "unknown"))
    )
    house.work_off()
    assert sandbox.summary()["global_unsubscribes"] == 0
    assert house.lanes()["consent"]["dropped_by_rule"] == {"not_on_list": 2}
    [suppressed] = people_of(sandbox)["a@shop.io"]["subscriptions"]["email"]["marketing"][
        "list_suppressions"
    ]
    assert suppressed["list_id"] == list_id


def test_a_deletion_of_an_unknown_profile_is_done(house, sandbox):
    house.enqueue(Identify(email="a@shop.io"))
    house.work_off()
    house.enqueue(DeleteProfile(email="a@shop.io"), DeleteProfile(email="nobody@shop.io"))
    house.work_off()
    assert house.numbers("privacy") == {"delivered": 2}
    assert sandbox.summary()["deletions"] == 1


def test_a_redriven_deletion_is_asked_for_once(house, sandbox):
    house.enqueue(Identify(email="a@shop.io"))
    house.work_off()
    sandbox.set_faults([{"action": "refuse", "match": "a@shop.io", "times": 1}])
    house.enqueue(DeleteProfile(email="a@shop.io"))
    house.work_off()
    [letter] = house.dead()
    asked = house.requests_to(limits.DELETE_PROFILE)
    house.letters.redrive([letter])
    house.work_off()
    assert house.numbers("privacy") == {"delivered": 1}
    assert house.requests_to(limits.DELETE_PROFILE) - asked == 1


# --- few requests ---------------------------------------------------------------------------------


def test_ten_thousand_events_need_few_requests(house, sandbox, tracks):
    house.enqueue(*tracks(10_000, properties={"x": "y" * 100}))
    house.work_off()
    assert sandbox.summary()["events"] == 10_000
    assert house.requests_to(BULK) <= 12
    assert house.requests_to(limits.CREATE_EVENT) == 0


def test_a_backlog_of_profiles_is_one_job(house, sandbox):
    house.enqueue(*(Identify(email=f"p{n}@shop.io", first_name="A") for n in range(3_000)))
    house.work_off()
    assert sandbox.summary()["profiles"] == 3_000
    assert house.requests_to(limits.BULK_IMPORT_PROFILES) == 1


# --- poison ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [True, False], ids=["which ends", "which stays"])
def test_an_unsubscribe_whose_answer_was_lost_is_not_sent_again_after_the_membership(
    house, sandbox, monkeypatch, ends
):
    without_waiting(monkeypatch)
    monkeypatch.setattr(consent, "LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(consent, "MEMBERSHIP_SETTLES_SECONDS", 0.2)
    sandbox.configure(unsubscribe_ends_membership=ends)
    list_id = sandbox.create_list("News")
    house.enqueue(Subscribe(list_id=list_id, email="a@shop.io"))
    house.work_off()
    fault = {"endpoint": limits.BULK_UNSUBSCRIBE, "action": "lose_answer", "times": 1}
    sandbox.set_faults([fault])
    house.enqueue(Unsubscribe(list_id=list_id, email="a@shop.io"))
    house.work_off()
    marketing = people_of(sandbox)["a@shop.io"]["subscriptions"]["email"]["marketing"]
    assert [one["list_id"] for one in marketing["list_suppressions"]] == [list_id]
    assert sandbox.summary()["global_unsubscribes"] == 0
    assert house.requests_to(limits.BULK_UNSUBSCRIBE) == (1 if ends else 2)


REFUSED = "The item is refused by a fault rule."


@pytest.mark.parametrize("pointer", [True, False], ids=["with pointers", "without pointers"])
@pytest.mark.parametrize("places", [(500,), (0, 999)], ids=["one", "both ends"])
def test_poison_among_events_is_dead_in_klaviyos_words(house, sandbox, tracks, pointer, places):
    commands = tracks(1_000)
    for place in places:
        commands[place] = Track(metric="Placed Order", email=f"poison{place}@shop.io")
    sandbox.set_faults([{"action": "refuse", "match": "poison", "pointer": pointer}])
    house.enqueue(*commands)
    house.work_off()
    number = len(places)
    assert house.numbers("events") == {"delivered": 1_000 - number, "dead": number}
    assert sandbox.summary()["events"] == 1_000 - number
    for letter in house.dead():
        assert letter.envelope.command.email.startswith("poison")
        assert (letter.failure.status, letter.failure.detail) == (400, REFUSED)
    assert house.requests_to(BULK) <= (2 if pointer else 1 + number * 2 * 10)


@pytest.mark.parametrize("pointer", [True, False], ids=["with pointers", "without pointers"])
def test_poison_among_profiles_harms_no_other(house, sandbox, pointer):
    rule = {"action": "refuse", "match": "poison", "pointer": pointer}
    sandbox.set_faults([rule])
    house.enqueue(
        *(Identify(email=f"p{n}@shop.io", first_name="A") for n in range(50)),
        Identify(email="both@shop.io", first_name="good"),
        Identify(email="both@shop.io", last_name="poison"),
    )
    house.work_off()
    assert house.numbers("profiles") == {"delivered": 51, "dead": 1}
    assert people_of(sandbox)["both@shop.io"]["first_name"] == "good"
    assert sandbox.summary()["profiles"] == 51


def without_waiting(monkeypatch):
    """Backoff that tests need not wait for."""
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.01)
    monkeypatch.setattr(suspicion, "backoff_of_parked", lambda *_: 600.0)


def settle_down(house, until, wanted):
    """Turns until the lane's numbers are these."""

    def is_so():
        house.turn()
        return house.numbers(next(iter(wanted))) == next(iter(wanted.values()))

    until(is_so)


@pytest.mark.parametrize("lane", ["events", "profiles", "lists", "consent"])
def test_a_command_that_klaviyo_fails_with_is_parked_and_holds_no_other(
    house, sandbox, lane, monkeypatch, until
):
    without_waiting(monkeypatch)
    list_id = sandbox.create_list("News")
    sandbox.set_faults([{"status": 500, "match": "poison"}])
    kinds = {
        "events": lambda email: Track(metric="Placed Order", email=email),
        "profiles": lambda email: Identify(email=email, first_name="A"),
        "lists": lambda email: AddToList(list_id=list_id, email=email),
        "consent": lambda email: Subscribe(list_id=list_id, email=email),
    }
    emails = [f"p{n}@shop.io" for n in range(300)]
    emails[200] = "poison@shop.io"
    house.enqueue(*(kinds[lane](email) for email in emails))
    settle_down(house, until, {lane: {"delivered": 299, "parked": 1}})
    assert house.dead() == []
    requests = sum(
        sum(counts.values())
        for endpoint, counts in sandbox.summary()["requests"].items()
        if not endpoint.startswith("GET")
    )
    assert requests <= 3 + 2 * 9 + 4, "few more than halving needs"
    house.enqueue(*(kinds[lane](f"q{n}@shop.io") for n in range(50)))
    settle_down(house, until, {lane: {"delivered": 349, "parked": 1}})


def test_a_parked_command_holds_back_the_later_ones_of_its_person(
    house, sandbox, monkeypatch, until
):
    without_waiting(monkeypatch)
    sandbox.set_faults([{"status": 500, "match": "poison"}])
    house.enqueue(
        *(Identify(email=f"p{n}@shop.io") for n in range(20)),
        Identify(email="a@shop.io", append={"tags": "poison"}),
        Identify(email="a@shop.io", first_name="Ada"),
    )
    settle_down(house, until, {"profiles": {"delivered": 20, "parked": 1, "backlog": 1}})
    sandbox.clear_faults()
    lane = house.keys.lane("default", "profiles")
    for name, _ in house.redis.zscan_iter(lane.due):
        house.redis.zadd(lane.due, {name: 0})
    house.work_off()
    assert people_of(sandbox)["a@shop.io"]["first_name"] == "Ada"


def test_a_command_that_klaviyo_fails_with_for_days_is_given_up(
    house, sandbox, monkeypatch, until, tracks
):
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.01)
    monkeypatch.setattr(suspicion, "backoff_of_parked", lambda *_: 0.01)
    house._planner = house.make_planner(parked_seconds=0.3)
    sandbox.set_faults([{"status": 500, "match": "poison"}])
    house.enqueue(*tracks(20), Track(metric="Placed Order", email="poison@shop.io"))
    settle_down(house, until, {"events": {"delivered": 20, "dead": 1}})
    [letter] = house.dead()
    assert (letter.failure.status, letter.failure.code) == (500, "server_error")
    assert letter.attempts > 1


def test_days_for_which_a_person_pauses_the_lane_do_not_count(
    house, sandbox, monkeypatch, until, tracks
):
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.01)
    monkeypatch.setattr(suspicion, "backoff_of_parked", lambda *_: 0.01)
    sandbox.set_faults([{"status": 500, "match": "poison"}])
    house.enqueue(*tracks(20), Track(metric="Placed Order", email="poison@shop.io"))
    settle_down(house, until, {"events": {"delivered": 20, "parked": 1}})
    lane = Lane(house.redis, house.keys, "default", "events")
    lane.pause()
    four_days = 4 * 86_400
    house.redis.hincrby(lane.keys.state, "paused", -four_days * 1000)
    [(name, stored)] = house.redis.hgetall(lane.keys.parked).items()
    record = json.loads(stored)
    record["since"] -= four_days
    house.redis.hset(lane.keys.parked, name, json.dumps(record))
    lane.resume()
    attempts = record["attempts"]

    def is_tried_again():
        house.turn()
        [stored] = house.redis.hvals(lane.keys.parked) or [None]
        return stored is None or json.loads(stored)["attempts"] > attempts + 1

    until(is_tried_again)
    assert house.numbers("events") == {"delivered": 20, "parked": 1}


def test_429s_between_which_klaviyo_accepts_something_are_none_in_a_row(house, sandbox, tracks):
    lane = Lane(house.redis, house.keys, "default", "events")
    house.enqueue(*tracks(1_000))
    failures = []
    for turn in range(4):
        throttled = {"status": 429, "match": f"last{turn}@", "times": 1}
        sandbox.set_faults([throttled])
        house.enqueue(*tracks(999), Track(metric="Placed Order", email=f"last{turn}@shop.io"))
        before = sandbox.summary()["events"]
        house.turn()
        assert sandbox.summary()["events"] == before + 1_000, "one batch of the two was taken"
        failures.append(lane.state().failures)
        house.redis.delete(house.keys.quota("default", BULK).state)
        house.redis.hset(lane.keys.state, "until", 0)
    assert failures == [1] * 4


def test_an_outage_with_500_parks_nobody(house, sandbox, monkeypatch, tracks):
    without_waiting(monkeypatch)
    sandbox.set_faults([{"status": 500}])
    house.enqueue(*tracks(300))
    for _ in range(20):
        house.turn()
    assert house.numbers("events") == {"backlog": 300}
    sandbox.clear_faults()
    house.work_off()
    assert house.numbers("events") == {"delivered": 300}
    assert sandbox.summary()["events"] == 300


def test_an_unreadable_message_is_a_dead_letter(house, sandbox, tracks):
    house.enqueue(*tracks(3))
    entrance = LaneEntrance(house.redis, house.keys, 10**9)
    entrance.ship("default:events", "newer", [(1, b'{"v":99}')])
    house.work_off()
    assert house.numbers("events") == {"delivered": 3, "dead": 1}


def test_a_dead_letter_that_is_redriven_arrives(house, sandbox, tracks):
    sandbox.set_faults([{"action": "refuse", "match": "p1@"}])
    house.enqueue(*tracks(3))
    house.work_off()
    assert house.numbers("events") == {"delivered": 2, "dead": 1}
    sandbox.clear_faults()
    assert house.letters.redrive(house.dead()) == 1
    house.work_off()
    assert house.numbers("events") == {"delivered": 3}
    assert sandbox.summary()["events"] == 3


# --- import jobs ----------------------------------------------------------------------------------


def test_the_failing_rows_of_a_job_are_dead_and_the_others_delivered(house, sandbox):
    house.enqueue(Identify(email="taken@shop.io"), Identify(phone_number="+4915112345678"))
    house.work_off()
    clash = Identify(email="taken@shop.io", phone_number="+4915112345678")
    house.enqueue(*(Identify(email=f"p{n}@shop.io") for n in range(20)), clash)
    house.work_off()
    assert house.numbers("profiles") == {"delivered": 22, "dead": 1}
    [letter] = house.dead()
    assert letter.failure.code == "duplicate_profile"
    assert letter.envelope.command.email == "taken@shop.io"


def test_the_last_word_of_a_row_that_failed_is_the_last_one_sent(house, sandbox):
    sandbox.configure(failing_rows="poison")
    everybody = [f"p{n}@shop.io" for n in range(8)]
    house.enqueue(
        *(
            Identify(email=email, properties=properties)
            for email in everybody
            for properties in ({"note": "poison"}, {"step": "second"}, {"step": "last"})
        )
    )
    house.work_off()
    people = people_of(sandbox)
    assert {people[email]["properties"]["step"] for email in everybody} == {"last"}


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"action": "reset"}, {"status": 429, "retry_after": 0}],
    ids=["503", "reset", "429"],
)
def test_an_outage_while_the_errors_are_read_delivers_no_failed_row(house, sandbox, fault):
    house.enqueue(Identify(email="taken@shop.io"), Identify(phone_number="+4915112345678"))
    house.work_off()
    sandbox.set_faults([{"endpoint": limits.GET_IMPORT_ERRORS, "times": 1, **fault}])
    clash = Identify(email="taken@shop.io", phone_number="+4915112345678")
    house.enqueue(*(Identify(email=f"p{n}@shop.io") for n in range(5)), clash)
    house.work_off()
    assert house.numbers("profiles") == {"delivered": 7, "dead": 1}


def test_no_page_of_errors_is_read_twice_where_quota_ends_between_two(house, sandbox, monkeypatch):
    monkeypatch.setattr(courier, "MIDWAY_PATIENCE_SECONDS", 0.0)
    sandbox.configure(failing_rows="poison")
    poison = (Identify(email=f"p{n}@shop.io", properties={"is": "poison"}) for n in range(1_250))
    house.enqueue(*poison, Identify(email="good@shop.io"))
    house.work_off()
    assert house.numbers("profiles") == {"delivered": 1, "dead": 1_250}
    assert house.requests_to(limits.GET_IMPORT_ERRORS) == 13


def test_later_commands_of_a_person_wait_for_the_job(house, sandbox, until):
    sandbox.configure(import_delay_seconds=0.8)
    house.enqueue(*(Identify(email=f"p{n}@shop.io", first_name="old") for n in range(20)))
    house.turn()
    assert house.numbers("profiles") == {"following": 20}
    house.enqueue(Identify(email="p0@shop.io", first_name="new"), Identify(email="q@shop.io"))
    house.turn()
    assert house.numbers("profiles")["backlog"] == 1
    house.work_off()
    assert people_of(sandbox)["p0@shop.io"]["first_name"] == "new"


def test_a_job_whose_answer_was_lost_never_undoes_what_came_later(
    house, sandbox, monkeypatch, until
):
    without_waiting(monkeypatch)
    monkeypatch.setattr(stray_watch, "STRAY_SECONDS", 0.05)
    sandbox.configure(import_delay_seconds=0.8)
    sandbox.set_faults([{"endpoint": IMPORT, "action": "lose_answer", "times": 1}])
    house.enqueue(*(Identify(email=f"p{n}@shop.io", first_name="old") for n in range(20)))
    house.turn()
    sandbox.configure(import_delay_seconds=0.0)
    house.enqueue(Identify(email="p0@shop.io", first_name="new"))
    until(lambda: house.turn() or house.lanes()["profiles"]["waits_for"] == "stray_job")
    assert house.requests_to(IMPORT) == 1, "sent while the lost job may still run"
    house.work_off()
    assert people_of(sandbox)["p0@shop.io"]["first_name"] == "new"
    assert house.lane_state("profiles").imports == {}


@pytest.fixture
def holds_first_import_back(monkeypatch):
    """The edge says 504 to the first import, and Klaviyo takes it a second later."""
    sends, held = KlaviyoClient.send, []
    first = iter([True])

    def send(client, request):
        if request.endpoint == IMPORT and next(first, False):
            held.append((time.monotonic(), request))
            return Answer(504, {}, b"")
        if held and time.monotonic() > held[0][0] + 1.0:
            assert sends(client, held.pop()[1]).status == 202
        return sends(client, request)

    monkeypatch.setattr(KlaviyoClient, "send", send)
    return held


@pytest.mark.parametrize("turns_failed", [0, suspicion.TURNS_SUSPICIOUS], ids=["", "in a line-up"])
def test_a_job_that_klaviyo_makes_after_the_answer_was_lost_never_undoes_what_came_later(
    house, sandbox, monkeypatch, holds_first_import_back, turns_failed
):
    without_waiting(monkeypatch)
    monkeypatch.setattr(strays, "APPEARS_SECONDS", 1.4)
    twelve = [f"p{n}@shop.io" for n in range(12)]
    house.enqueue(*(Identify(email=email, first_name="old") for email in twelve))
    house.enqueue(*(Identify(email=email, first_name="new", append={"x": 1}) for email in twelve))
    lane = Lane(house.redis, house.keys, "default", "profiles")
    lane.note_server_error(turns_failed, 12, 1.0)
    house.work_off()
    assert not holds_first_import_back, "it came after all was said"
    assert {one["first_name"] for one in people_of(sandbox).values()} == {"new"}
    assert house.lane_state("profiles").imports == {}


@pytest.fixture
def answers_first_import_504(monkeypatch):
    """Klaviyo takes the first import, and the edge before it says 504; later ones are quick."""

    def arrange(sandbox):
        sandbox.configure(import_delay_seconds=0.8)
        sends, is_first = KlaviyoClient.send, iter([True])

        def send(client, request):
            answer = sends(client, request)
            if request.endpoint == IMPORT and next(is_first, False):
                sandbox.configure(import_delay_seconds=0.0)
                return structs.replace(answer, status=504)
            return answer

        monkeypatch.setattr(KlaviyoClient, "send", send)

    return arrange


def test_a_job_whose_answer_was_lost_in_a_line_up_never_undoes_what_came_later(
    house, sandbox, monkeypatch, answers_first_import_504
):
    monkeypatch.setattr(stray_watch, "STRAY_SECONDS", 0.05)
    answers_first_import_504(sandbox)
    twelve = [f"p{n}@shop.io" for n in range(12)]
    house.enqueue(*(Identify(email=email, first_name="old") for email in twelve))
    house.enqueue(*(Identify(email=email, first_name="new", append={"x": 1}) for email in twelve))
    lane = Lane(house.redis, house.keys, "default", "profiles")
    lane.note_server_error(suspicion.TURNS_SUSPICIOUS, 12, 1.0)
    monkeypatch.setattr(strays, "APPEARS_SECONDS", 0.0)
    house.work_off()
    assert {one["first_name"] for one in people_of(sandbox).values()} == {"new"}
    assert house.lane_state("profiles").imports == {}


def test_a_worker_killed_after_an_import_leaves_the_same_note(house, sandbox, monkeypatch, until):
    monkeypatch.setattr(stray_watch, "STRAY_SECONDS", 0.05)
    sandbox.configure(import_delay_seconds=0.8)
    house.enqueue(*(Identify(email=f"p{n}@shop.io", first_name="old") for n in range(20)))
    with monkeypatch.context() as dying:
        dying.setattr(Lane, "settle", _die)
        with pytest.raises(KeyboardInterrupt):
            house.turn()
    sandbox.configure(import_delay_seconds=0.0)
    house.enqueue(Identify(email="p0@shop.io", first_name="new"))
    house.work_off()
    assert people_of(sandbox)["p0@shop.io"]["first_name"] == "new"


def _die(*_arguments, **_keywords):
    raise KeyboardInterrupt


def test_imports_that_were_refused_or_throttled_leave_no_note(house, sandbox):
    sandbox.set_faults([{"endpoint": IMPORT, "status": 429, "retry_after": 0, "times": 1}])
    house.enqueue(*(Identify(email=f"p{n}@shop.io") for n in range(20)))
    house.turn()
    assert house.lane_state("profiles").imports == {}


# --- faults of Redis ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "step"),
    [(Lane, "forget_imports"), (Accounts, "learn_lists"), (Lane, "settle")],
    ids=["before the notes", "before the names of lists", "before the lane"],
)
def test_telemetry_hears_once_of_what_is_settled_in_two_goes(house, monkeypatch, owner, step):
    heard = []
    house.listen(heard.append)
    takes, faults = getattr(owner, step), iter([RedisConnectionError("away")])

    def meets_a_fault(*given, **more):
        for fault in faults:
            raise fault
        return takes(*given, **more)

    monkeypatch.setattr(owner, step, meets_a_fault)
    house.enqueue(Track(metric="M", email="a@shop.io"))
    house.work_off()
    assert next(faults, None) is None, "there was no fault"
    assert [event.commands for event in heard if isinstance(event, Settled)] == [1]
    assert house.numbers("events") == {"delivered": 1}


# --- outages --------------------------------------------------------------------------------------

OUTAGES = {
    "500": ({"status": 500}, "discard"),
    "503": ({"status": 503}, "discard"),
    "429": ({"status": 429, "retry_after": 0}, "discard"),
    "reset": ({"action": "reset"}, "discard"),
    "lost answer, repeats discarded": ({"action": "lose_answer"}, "discard"),
    "lost answer, repeats refused": ({"action": "lose_answer"}, "refuse"),
    "hang": ({"action": "hang", "seconds": 30}, "discard"),
    "drip, repeats refused": ({"action": "drip", "seconds_per_byte": 0.05}, "refuse"),
}
EVERYTHING = [
    *(Track(metric="Placed Order", email=f"p{n}@shop.io") for n in range(30)),
    *(Identify(email=f"p{n}@shop.io", properties={"n": n}) for n in range(30)),
    *(AddToList(list_name="News", email=f"p{n}@shop.io") for n in range(30)),
    *(Subscribe(list_name="News", email=f"p{n}@shop.io") for n in range(30)),
    DeleteProfile(email="nobody@shop.io"),
]


@pytest.mark.parametrize(("fault", "repeats"), OUTAGES.values(), ids=OUTAGES)
def test_an_outage_costs_no_command_and_doubles_none(house, sandbox, fault, repeats):
    house._planner = house.make_planner(request_seconds=0.5)
    sandbox.configure(repeats=repeats)
    sandbox.create_list("News")
    sandbox.set_faults([{"times": 6, **fault}])
    house.enqueue(*EVERYTHING)
    house.turn()
    assert not house.is_at_rest(), "the fault reached nothing"
    house.work_off()
    assert house.dead() == []
    assert sum(lane["delivered"] for lane in house.lanes().values()) == len(EVERYTHING)
    assert Counter(one["unique_id"] for one in sandbox.events()).most_common(1)[0][1] == 1
    assert sandbox.summary()["events"] == 30
    [found] = sandbox.summary()["lists"].values()
    assert found["members"] == 30
    assert all(one["properties"] == {"n": int(one["email"][1:-8])} for one in sandbox.profiles())


@pytest.mark.parametrize("repeats", ["discard", "refuse"])
def test_a_lost_answer_to_a_backlog_doubles_nothing(house, sandbox, tracks, repeats):
    sandbox.configure(repeats=repeats)
    sandbox.set_faults([{"endpoint": BULK, "action": "lose_answer", "times": 1}])
    house.enqueue(*tracks(200))
    house.work_off()
    assert sandbox.summary()["events"] == 200
    assert house.numbers("events") == {"delivered": 200}


def test_a_lane_that_snoozes_sends_nothing_before_its_time(house, sandbox, tracks, monkeypatch):
    monkeypatch.setattr(judge, "backoff", lambda *_: 30.0)
    sandbox.set_faults([{"status": 503}])
    house.enqueue(*tracks(10))
    for _ in range(5):
        house.turn()
    assert house.requests_to(BULK) == 1
    lane = house.lanes()["events"]
    assert (lane["waits_for"], lane["backlog"]) == ("outage", 10)


def test_one_lanes_outage_leaves_the_others_alone(house, sandbox, tracks):
    sandbox.set_faults([{"endpoint": BULK, "status": 503}])
    house.enqueue(*tracks(10), Identify(email="a@shop.io"))
    house.turn()
    assert house.numbers("profiles") == {"delivered": 1}
    assert house.numbers("events") == {"backlog": 10}


def test_outages_are_counted_until_one_success(house, sandbox, tracks, until):
    sandbox.set_faults([{"status": 503, "times": 3}])
    house.enqueue(*tracks(1))
    breakers = set()

    def is_done():
        house.turn()
        breakers.add(house.lanes()["events"]["breaker"])
        return house.is_at_rest()

    until(is_done)
    assert "open" in breakers
    assert house.lanes()["events"]["breaker"] == "closed"


def test_a_refused_key_pauses_the_whole_account_and_kills_nothing(
    house, sandbox, tracks, monkeypatch
):
    monkeypatch.setattr(judge, "PROBE_SECONDS", 0.3)
    sandbox.set_faults([{"status": 401}])
    house.enqueue(*tracks(10), Identify(email="a@shop.io"))
    house.planner.deliver("default", "events")
    house.planner.deliver("default", "profiles")
    assert house.requests_to(limits.IMPORT_PROFILE) == 0, "the whole account must wait"
    assert house.lanes()["events"]["paused_because"] == "unauthorized"
    assert house.dead() == []
    sandbox.clear_faults()
    house.work_off()
    assert house.numbers("events") == {"delivered": 10}
    assert house.numbers("profiles") == {"delivered": 1}
    assert not house.lanes()["events"]["paused"]


def test_a_missing_scope_pauses_only_what_needs_it(house, sandbox, tracks, monkeypatch):
    monkeypatch.setattr(judge, "PROBE_SECONDS", 0.3)
    sandbox.set_faults([{"endpoint": BULK, "status": 403}])
    house.enqueue(*tracks(10), Identify(email="a@shop.io"))
    house.turn()
    assert house.numbers("profiles") == {"delivered": 1}
    assert house.numbers("events") == {"backlog": 10}
    assert house.lanes()["events"]["paused"]
    assert not house.lanes()["profiles"]["paused"]
    sandbox.clear_faults()
    house.work_off()


def test_a_paused_account_is_probed_by_one_lane_of_one_worker(house, sandbox, tracks, monkeypatch):
    monkeypatch.setattr(judge, "PROBE_SECONDS", 0.5)
    sandbox.set_faults([{"status": 401}])
    house.enqueue(*tracks(10), Identify(email="a@shop.io"), Suppress(email="b@shop.io"))
    planners = [house.planner, house.make_planner()]
    for _ in for_a_while(2.2):
        for planner in planners:
            for name in house.status.lanes():
                planner.deliver(*split(name))
    requests = sum(sum(one.values()) for one in sandbox.summary()["requests"].values())
    assert 3 <= requests <= 6, "one at first, then one each half second"


def test_an_open_breaker_holds_the_twin_too_and_one_probe_closes_it(
    house, sandbox, tracks, monkeypatch, until
):
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.2)
    sandbox.set_faults([{"status": 503}])
    house.enqueue(*tracks(10))
    until(lambda: house.turn() or house.lanes()["events"]["breaker"] == "open")
    house.enqueue(*tracks(10), bulk=True)
    before = house.requests_to(BULK)
    house.planner.deliver("default", "events:bulk")
    assert house.requests_to(BULK) == before
    assert house.lanes()["events:bulk"]["breaker"] != "closed"
    sandbox.clear_faults()
    house.work_off()
    assert house.lanes()["events"]["breaker"] == "closed"


def test_a_half_open_breaker_lets_one_batch_through(house, sandbox, tracks, monkeypatch, until):
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.05)
    sandbox.set_faults([{"status": 503}])
    house.enqueue(*tracks(4_000))
    until(lambda: house.turn() or house.lanes()["events"]["breaker"] == "open")
    before = house.requests_to(BULK)
    until(lambda: house.lanes()["events"]["breaker"] == "half-open")
    house.planner.deliver("default", "events")
    assert house.requests_to(BULK) - before == 1


@pytest.mark.parametrize("what", ["account", "lane"])
def test_a_pause_stops_a_turn_that_is_under_way(  # noqa: PLR0917 - fixtures
    house, sandbox, tracks, monkeypatch, until, what
):
    monkeypatch.setattr(turns, "ASK_SECONDS", 0.05)
    sandbox.configure(latency_seconds=0.2)
    house.enqueue(*tracks(60_000))
    turn = threading.Thread(target=house.planner.deliver, args=("default", "events"))
    turn.start()
    until(lambda: house.numbers("events").get("delivered"))
    if what == "account":
        house.planner.accounts.breakers.pause("default", "", "person")
    else:
        Lane(house.redis, house.keys, "default", "events").pause()
    turn.join(5)
    assert not turn.is_alive(), "a turn lasts twenty seconds"
    assert house.lanes()["events"]["paused_because"] == "person"
    assert house.numbers("events")["backlog"] > 0
    before = house.requests_to(BULK)
    house.turn()
    assert house.requests_to(BULK) == before


def test_what_a_person_paused_waits_for_a_person(house, sandbox, tracks):
    house.enqueue(*tracks(10), Identify(email="a@shop.io"))
    house.planner.accounts.breakers.pause("default", "", "person")
    house.turn()
    assert house.numbers("events") == {"backlog": 10}
    house.planner.accounts.breakers.resume("default", "")
    house.work_off()


def test_a_key_that_the_sandbox_refuses_is_mended_by_a_new_worker(
    house, sandbox, tracks, monkeypatch
):
    monkeypatch.setattr(judge, "PROBE_SECONDS", 0.3)
    house._planner = house.make_planner(api_keys={"default": "wrong"})
    house.enqueue(*tracks(10))
    house.turn()
    assert house.numbers("events") == {"backlog": 10}
    house._planner = house.make_planner()
    house.work_off()
    assert sandbox.summary()["events"] == 10


def test_an_account_without_a_key_waits_for_one(house, sandbox, tracks):
    house._planner = house.make_planner(api_keys={"eu": "pk_eu"})
    house.enqueue(*tracks(2))
    house.turn()
    assert house.numbers("events") == {"backlog": 2}
    house._planner = house.make_planner()
    house.work_off()


def test_klaviyos_limits_are_kept(house, sandbox, tracks):
    sandbox.configure(limits=True)
    house.enqueue(*(Identify(email="a@shop.io", properties={"n": n}) for n in range(2)))
    house.enqueue(*(DeleteProfile(email=f"nobody{n}@shop.io") for n in range(7)))
    house.work_off()
    assert sandbox.summary()["throttled"] == 0
    assert house.numbers("privacy") == {"delivered": 7}


# --- consent --------------------------------------------------------------------------------------


def test_a_redriven_subscribe_never_undoes_a_later_unsubscribe(house, sandbox):
    list_id = sandbox.create_list("News")
    sandbox.set_faults([{"action": "refuse", "match": "a@shop.io", "times": 1}])
    house.enqueue(Subscribe(list_id=list_id, email="a@shop.io"))
    house.work_off()
    house.enqueue(Unsubscribe(email="a@shop.io"))
    house.work_off()
    house.letters.redrive(house.dead())
    house.work_off()
    marketing = people_of(sandbox)["a@shop.io"]["subscriptions"]["email"]["marketing"]
    assert marketing["consent"] == "UNSUBSCRIBED"


def test_an_unsubscribe_from_everything_waits_for_no_list(house, sandbox):
    list_id = sandbox.create_list("News")
    house.enqueue(Unsubscribe(list_id=list_id, email="a@shop.io"))
    house.turn()
    house.enqueue(Unsubscribe(email="a@shop.io"))
    house.turn()
    house.turn()
    assert house.requests_to(limits.BULK_UNSUBSCRIBE) == 1


def test_a_failed_row_that_nobody_names_is_not_delivered(house, sandbox):
    house.enqueue(Identify(email="taken@shop.io"), Identify(phone_number="+4915112345678"))
    house.work_off()
    sandbox.set_faults([{"endpoint": limits.GET_IMPORT_ERRORS, "status": 404}])
    clash = Identify(email="taken@shop.io", phone_number="+4915112345678")
    house.enqueue(*(Identify(email=f"p{n}@shop.io") for n in range(5)), clash)
    house.work_off()
    assert house.numbers("profiles")["delivered"] < 8
