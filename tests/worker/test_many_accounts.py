"""Many accounts in one worker: the outage of one is not the others' business."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from klaviyo_relay import AddToList, DeleteProfile, Identify, Producer, Subscribe, Track
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker import planner as module
from klaviyo_relay_worker.doorbell import Doorbell
from klaviyo_relay_worker.tasks import _deliver

LANES = ("events", "profiles", "lists", "consent", "privacy")
ACCOUNTS = [f"shop{number}" for number in range(48)]
DOWN, BUSY = "down", "busy"
THREADS = 4
HANG_SECONDS = 7.0
# The outage is at its worst while nobody knows of it: until the first requests have hung long
# enough. Whoever waited for one of their threads would wait at least so long.
SLACK_SECONDS = HANG_SECONDS / 2


def many_of(account):
    """Work for every lane; the account's name is in every body."""
    people = [f"p{number}@{account}.shop.io" for number in range(40)]
    makers = (
        lambda who: Track(metric="M", email=who),
        lambda who: Identify(first_name="A", email=who),
        lambda who: AddToList(list_name="News", email=who),
        lambda who: Subscribe(list_name="News", email=who, channels=("email",)),
        lambda who: DeleteProfile(email=who),
    )
    return [make(who) for make in makers for who in people]


class Pool:
    """A worker's threads and doorbell in this process, with as many keys as there are accounts."""

    def __init__(self, house):
        self._house = house
        self._producer = Producer(house.relay)
        keys = {account: f"pk_{account}" for account in (*ACCOUNTS, DOWN, BUSY)}
        self.planner = house.make_planner(api_keys=keys, concurrency=THREADS)
        self._rung = queue.SimpleQueue()
        self.doorbell = Doorbell(
            connect(house.relay.redis_url), house.keys, lambda *lane: self._rung.put(lane)
        )
        self._office = SimpleNamespace(planner=self.planner, doorbell=self.doorbell)
        self._threads = [threading.Thread(target=self._work) for _ in range(THREADS)]

    def _work(self):
        while (lane := self._rung.get()) is not None:
            _deliver(self._office, *lane)

    def start(self):
        for thread in self._threads:
            thread.start()
        self.doorbell.start()

    def stop(self):
        self.planner.drain()
        self.doorbell.stop()
        for _ in self._threads:
            self._rung.put(None)
        for thread in self._threads:
            thread.join()

    def enqueue(self, account, commands, *, bulk=False):
        self._producer.enqueue_many(commands, account=account, bulk=bulk, timeout=10)

    def delivered(self, accounts):
        """Commands of these accounts that Klaviyo has accepted; one question, whatever they are."""
        pipeline = self._house.redis.pipeline(transaction=False)
        for account in accounts:
            for lane in LANES:
                pipeline.hget(self._house.keys.lane(account, lane).counts, "delivered")
        return sum(int(number or 0) for number in pipeline.execute())

    def seconds_for(self, accounts, until):
        """How long it takes until each of them has an event delivered."""
        expected = self.delivered(accounts) + len(accounts)
        began = time.monotonic()
        for account in accounts:
            self.enqueue(account, [Track(metric="M", email=f"ada@{account}.shop.io")])
        until(lambda: self.delivered(accounts) >= expected, 60.0)
        return time.monotonic() - began


@pytest.fixture
def pool(house):
    made = Pool(house)
    made.start()
    yield made
    made.stop()


def test_one_accounts_outage_slows_no_other(pool, sandbox, until):
    sandbox.create_list("News")
    alone = pool.seconds_for(ACCOUNTS, until)
    sandbox.set_faults(
        [
            {"action": "hang", "seconds": HANG_SECONDS, "match": f"@{DOWN}.shop.io"},
            {"status": 429, "retry_after": 1, "match": f"@{BUSY}.shop.io"},
        ]
    )
    for bulk in (False, True):
        pool.enqueue(DOWN, many_of(DOWN), bulk=bulk)
        pool.enqueue(BUSY, many_of(BUSY), bulk=bulk)
    until(lambda: pool.planner.leases.longest_held_seconds > 0.5)
    beside = pool.seconds_for(ACCOUNTS, until)
    # Half of the threads are left, so nothing takes more than twice as long.
    assert beside < 2 * alone + SLACK_SECONDS, f"alone {alone:.2f} s, with an outage {beside:.2f} s"
    assert pool.delivered([DOWN, BUSY]) == 0


def test_a_lane_that_found_the_share_taken_comes_when_there_is_room(house):
    planner = house.make_planner(api_keys={"default": "pk_a", "other": "pk_b"}, concurrency=2)
    house.enqueue(Track(metric="M", email="ada@shop.io"))
    assert planner.turns.take("default")
    assert not planner.deliver("default", "events")
    assert not planner.may_deliver("default", "events")
    assert planner.turned_away("default") == []
    planner.turns.give_back("default")
    assert planner.turned_away("default") == ["events"]
    assert planner.turned_away("default") == []
    planner.deliver("default", "events")
    assert house.numbers("events") == {"delivered": 1}


def test_an_account_with_more_lanes_than_places_delivers_them_all(pool, sandbox, until):
    sandbox.create_list("News")
    lanes = ("events", "profiles", "lists", "consent")
    commands = [one for one in many_of("shop0") if one.lane in lanes]
    pool.enqueue("shop0", commands)
    until(lambda: pool.delivered(["shop0"]) == len(commands), 30.0)


@pytest.mark.parametrize("keys", [1, 2], ids=["one account", "several accounts"])
def test_an_account_has_half_of_the_senders_unless_it_is_alone(house, sandbox, monkeypatch, keys):
    monkeypatch.setattr(module, "CONVERSATIONS_MOST", 4)
    accounts = ["default", "other"][:keys]
    planner = house.make_planner(api_keys={account: f"pk_{account}" for account in accounts})
    sandbox.configure(latency_seconds=0.3)
    house.enqueue(*(Identify(first_name="A", email=f"p{at}@shop.io") for at in range(4)))
    client, under_way, most = planner.accounts.client("default"), Counter(), Counter()
    send, guard = client.send, threading.Lock()

    def count(request):
        with guard:
            under_way["now"] += 1
            most["ever"] = max(most["ever"], under_way["now"])
        try:
            return send(request)
        finally:
            with guard:
                under_way["now"] -= 1

    monkeypatch.setattr(client, "send", count)
    planner.deliver("default", "profiles")
    assert house.numbers("profiles") == {"delivered": 4}
    assert most["ever"] == 4 // keys
