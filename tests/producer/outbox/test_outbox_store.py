"""`OutboxStore`, as SQLAlchemy's store keeps it; Django's is tested with Django."""

import threading

import pytest
from sqlalchemy import delete, update

from klaviyo_relay import Settings
from klaviyo_relay.contrib import sqlalchemy as outbox
from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore
from klaviyo_relay.errors import LeaseLostError
from outboxes import shipment_of, tracked


def test_numbers_that_redis_has_seen_are_not_given_again(engine, redis, lanes):
    """A database restored from a backup, or failed over to a replica that was behind."""
    store = SqlAlchemyStore(engine)
    tracked(engine, range(5))
    while shipment_of(store, redis).step():
        break
    with engine.begin() as connection:
        connection.execute(delete(outbox._rows))
        connection.execute(update(outbox._state).values(last_number=2))

    known = {name.decode() for name in redis.smembers(Settings().keys.register)}
    after = tracked(engine, range(3))
    assert shipment_of(store, redis, lanes=known).step()

    assert lanes.ids()[5:] == after


def test_a_relay_without_the_lease_gives_no_numbers(engine):
    store = SqlAlchemyStore(engine)
    tracked(engine, [1])
    assert store.take("one", store.state().beat)
    assert store.take("two", store.state().beat)

    with pytest.raises(LeaseLostError):
        store.number_rows("one", 10, 0)
    with pytest.raises(LeaseLostError):
        store.renew("one")
    store.release("one")

    assert store.state().holder == "two"
    assert store.newest() == {}
    assert store.number_rows("two", 10, 0) == {"default:events": 1}


def test_a_stale_claim_is_refused(engine):
    store = SqlAlchemyStore(engine)
    beat = store.state().beat

    assert store.take("one", beat)
    assert not store.take("two", beat)
    assert store.state().holder == "one"


def test_relays_that_begin_at_once_agree_on_one_source(postgres_engine):
    stores = [SqlAlchemyStore(postgres_engine) for _ in range(4)]
    barrier, found = threading.Barrier(4), []

    def work(store):
        barrier.wait()
        found.append(store.state().source)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1
