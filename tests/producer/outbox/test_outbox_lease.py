"""Who relays: one of several, and another when that one ends."""

import pytest

from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore
from klaviyo_relay.outbox import Lease
from outboxes import tracked


@pytest.fixture
def store(sqlite_engine):
    return SqlAlchemyStore(sqlite_engine)


def test_a_lease_that_is_free_is_taken_and_held(store):
    lease = Lease(store)

    assert lease.hold()
    assert lease.hold()
    assert store.state().holder == lease.holder


def test_a_holder_that_shows_signs_of_life_keeps_the_lease(store):
    first, second = Lease(store, 1_000.0), Lease(store, 1_000.0)
    assert first.hold()

    assert not second.hold()
    assert first.hold()


def test_a_lease_that_is_given_back_is_free_at_once(store):
    first, second = Lease(store, 1_000.0), Lease(store, 1_000.0)
    assert first.hold()
    assert not second.hold()

    first.release()

    assert second.hold()
    assert not first.hold()


def test_whoever_lost_the_lease_gives_back_nothing(store):
    first, second = Lease(store, 1e-9), Lease(store, 1_000.0)
    assert first.hold()
    assert store.take(second.holder, store.state().beat)
    first.lose()

    first.release()

    assert store.state().holder == second.holder


def test_a_renewal_after_another_took_over_is_a_claim_like_any_other(store):
    first = Lease(store, 1e-9)
    assert first.hold()
    assert store.take("another", store.state().beat)

    assert not first.hold()
    assert store.state().holder == "another"


def test_two_relays_that_both_believe_to_be_the_one_are_harmless(engine, relay, lanes, until):
    # With a lease of no length each takes it from the other at every pass.
    for _ in range(3):
        relay(engine, lease_seconds=1e-9)
    committed = []
    for number in range(40):
        committed += tracked(engine, range(number % 7))

    until(lambda: lanes.length() >= len(committed))
    assert lanes.ids() == committed


def test_the_second_relay_stands_by_and_takes_over_from_one_that_ended(engine, relay, lanes, until):
    store = SqlAlchemyStore(engine)
    first = relay(engine, lease_seconds=1_000.0)
    holder = until(lambda: store.state().holder)
    relay(engine, lease_seconds=1_000.0)
    tracked(engine, range(20))
    until(lambda: lanes.length() == 20)
    assert store.state().holder == holder

    first.stop()
    until(lambda: store.state().holder not in (None, holder))
    tracked(engine, range(5))
    until(lambda: lanes.length() == 25)


def test_the_second_relay_takes_over_from_one_that_went_silent(sqlite_engine, relay, until):
    store = SqlAlchemyStore(sqlite_engine)
    assert store.take("dead", store.state().beat)

    relay(sqlite_engine, lease_seconds=0.3)

    until(lambda: store.state().holder != "dead")
