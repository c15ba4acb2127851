"""Consent under chance: whoever's last word is no, is subscribed by nothing that we send."""

from __future__ import annotations

import random

import pytest

from klaviyo_relay import AddToList, DeleteProfile, RemoveFromList, Subscribe, Unsubscribe
from klaviyo_relay_worker import judge, limits
from klaviyo_relay_worker.plan import consent, privacy, strays

PEOPLE = [f"p{n}@shop.io" for n in range(4)]


def command_of(chance, list_ids):
    on_list = chance.choice([None, *list_ids])
    kind = chance.choice([Subscribe, Subscribe, Unsubscribe, AddToList, RemoveFromList])
    if kind in (AddToList, RemoveFromList):
        on_list = on_list or list_ids[0]
    return kind(email=chance.choice(PEOPLE), list_id=on_list)


def faults_of(chance):
    action = chance.choice(["lose_answer", "reset", "refuse", "503"])
    if action == "refuse":
        return [{"endpoint": limits.BULK_SUBSCRIBE, "action": action, "times": 1,
                 "match": chance.choice(PEOPLE)}]  # fmt: skip
    fault = {"status": 503} if action == "503" else {"action": action}
    return [{"times": chance.randrange(1, 4), **fault}]


@pytest.mark.parametrize("seed", range(6))
def test_whoevers_last_word_is_no_is_never_subscribed(house, sandbox, monkeypatch, seed):
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.01)
    monkeypatch.setattr(strays, "APPEARS_SECONDS", 0.1)
    monkeypatch.setattr(consent, "LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(consent, "MEMBERSHIP_SETTLES_SECONDS", 0.05)
    chance = random.Random(seed)
    list_ids = [sandbox.create_list("News"), sandbox.create_list("Weekly")]
    last: dict[str, type] = {}
    for _ in range(25):
        for _ in range(chance.randrange(1, 8)):
            command = command_of(chance, list_ids)
            if isinstance(command, Subscribe) or (
                isinstance(command, Unsubscribe) and command.list_id is None
            ):
                last[command.email] = type(command)
            house.enqueue(command)
        if chance.random() < 0.5:
            sandbox.set_faults(faults_of(chance))
        house.turn()
        if chance.random() < 0.3:
            house.letters.redrive(house.dead())
    sandbox.clear_faults()
    house.letters.redrive(house.dead())
    house.work_off()
    consents = {
        one["email"]: one["subscriptions"]["email"]["marketing"]["consent"]
        for one in sandbox.profiles()
    }
    said_no = [who for who, kind in last.items() if kind is Unsubscribe]
    assert [who for who in said_no if consents.get(who) == "SUBSCRIBED"] == []
    assert sandbox.summary()["global_unsubscribes"] == 0
    assert house.dead() == []


@pytest.mark.parametrize("seed", range(4))
def test_nothing_older_than_a_deletion_is_left_at_klaviyo(house, sandbox, monkeypatch, seed):
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.01)
    monkeypatch.setattr(strays, "APPEARS_SECONDS", 0.1)
    monkeypatch.setattr(privacy, "CHECK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(privacy, "IN_FLIGHT_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(consent, "LOOK_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(consent, "MEMBERSHIP_SETTLES_SECONDS", 0.05)
    chance = random.Random(seed)
    list_ids = [sandbox.create_list("News")]
    gone = PEOPLE[:2]
    for _ in range(10):
        house.enqueue(*(command_of(chance, list_ids) for _ in range(chance.randrange(1, 12))))
        sandbox.set_faults(faults_of(chance))
        house.turn()
    house.enqueue(*(DeleteProfile(email=who) for who in gone))
    house.turn()
    house.letters.redrive(house.dead())
    sandbox.clear_faults()
    house.work_off()
    assert {one["email"] for one in sandbox.profiles()}.isdisjoint(gone)
