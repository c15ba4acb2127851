# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name
"""Commit, rollback, order, outages: a relay in a thread, on SQLite and on PostgreSQL."""

import logging
import shutil
import threading
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from klaviyo_relay import Settings, lane_entrance
from klaviyo_relay.contrib import sqlalchemy as outbox
from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore
from klaviyo_relay.errors import MarkFellBackError
from klaviyo_relay.outbox import OutboxShipper, shipper
from klaviyo_relay.outbox.shipper import Shipment
from klaviyo_relay.redis_clients import connect
from outboxes import ADA, rows_in, shipment_of, tracked

CHUNK = shipper.BATCH_COMMANDS


# --- commit and rollback --------------------------------------------------------------------------


def test_what_is_committed_is_in_the_lane_once_and_in_the_order_of_the_calls(
    engine, relay, lanes, until
):
    committed = [*tracked(engine, range(3)), *tracked(engine, range(3, CHUNK + 700))]

    relay(engine)
    until(lambda: lanes.length() == len(committed))
    later = tracked(engine, range(5))
    until(lambda: lanes.length() == len(committed) + 5)

    assert lanes.ids() == committed + later


def test_what_is_rolled_back_never_was(engine, relay, lanes, until):
    with Session(engine) as session:
        outbox.track(session, "M", email=ADA)
        session.rollback()
    with Session(engine) as session, suppress(ZeroDivisionError), session.begin():
        outbox.identify(session, email=ADA)
        raise ZeroDivisionError
    (marker,) = tracked(engine, [1])

    relay(engine)
    until(lanes.length)

    assert lanes.ids() == [marker]
    assert lanes.length("profiles") == 0


def test_nothing_is_shipped_before_the_commit(postgres_engine, relay, lanes, until):
    relay(postgres_engine)
    with Session(postgres_engine) as session, session.begin():
        open_id = outbox.track(session, "M", email=ADA)
        marker = tracked(postgres_engine, [1])
        until(lanes.length)
        assert lanes.ids() == marker

    until(lambda: lanes.length() == 2)
    assert lanes.ids() == [*marker, open_id]


def test_a_row_that_becomes_visible_after_a_higher_id_was_shipped_is_not_lost(
    postgres_engine, relay, lanes, until
):
    """The trap of the outbox: the first INSERT commits last."""
    relay(postgres_engine)
    first, second = postgres_engine.connect(), postgres_engine.connect()
    early = [outbox.track(first, "M", email=ADA) for _ in range(3)]
    late = [outbox.track(second, "M", email=ADA) for _ in range(3)]
    early += [outbox.track(first, "M", email=ADA)]

    second.commit()
    until(lambda: lanes.ids() == late)
    first.commit()
    until(lambda: lanes.length() == 7)
    first.close()
    second.close()

    assert lanes.ids() == late + early


def test_many_open_transactions_that_commit_in_any_order_lose_nothing(
    postgres_engine, relay, lanes, until
):
    relay(postgres_engine)
    committed, guard = [], threading.Lock()

    def work(number):
        for turn in range(25):
            with postgres_engine.connect() as connection:
                ids = [outbox.track(connection, "M", email=ADA) for _ in range(1 + number % 3)]
                connection.execute(text("SELECT pg_sleep(random() * 0.01)"))
                if (turn + number) % 5 == 0:
                    connection.rollback()
                    continue
                connection.commit()
            with guard:
                committed.append(ids)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sum(map(len, committed))
    until(lambda: lanes.length() >= expected)

    place = {command_id: at for at, command_id in enumerate(lanes.ids())}
    assert sorted(place) == sorted(command_id for ids in committed for command_id in ids)
    assert len(place) == lanes.length()
    for ids in committed:
        assert sorted(ids, key=place.__getitem__) == ids


# --- the window -----------------------------------------------------------------------------------


def test_shipped_rows_stay_for_the_window_and_are_deleted_after_it(
    engine, relay, lanes, until, monkeypatch
):
    monkeypatch.setattr(shipper, "RESHIP_SECONDS", 1_000.0)
    tracked(engine, range(CHUNK + 1))
    first = relay(engine)
    until(lambda: lanes.length() == CHUNK + 1)
    first.stop()
    assert rows_in(engine) == CHUNK + 1

    monkeypatch.setattr(shipper, "RESHIP_SECONDS", 0.0)
    relay(engine)
    until(lambda: rows_in(engine) == 0)
    after = tracked(engine, range(3))
    until(lambda: lanes.length() == CHUNK + 4)

    # The numbers go on, though no row is left that knows them.
    assert lanes.ids()[-3:] == after


def test_a_row_is_not_deleted_while_the_lane_does_not_have_it(
    sqlite_engine, redis, lanes, monkeypatch
):
    store = SqlAlchemyStore(sqlite_engine)
    tracked(sqlite_engine, range(3))
    shipment = shipment_of(store, redis)
    assert shipment.step()
    redis.flushall()
    monkeypatch.setattr(shipper, "RESHIP_SECONDS", -1.0)

    with pytest.raises(MarkFellBackError):
        shipment.step()

    assert rows_in(sqlite_engine) == 3
    assert shipment_of(store, redis).step()
    assert lanes.length() == 3


# --- Redis ----------------------------------------------------------------------------------------


def test_redis_away_and_back(engine, own_redis, relay, lanes_of, impatient, until, caplog):
    relay(engine, Settings(redis_url=own_redis.url))
    client = connect(own_redis.url)
    lanes = lanes_of(client)
    before = tracked(engine, range(3))
    until(lambda: lanes.length() == 3)
    own_redis.kill()
    meanwhile = tracked(engine, range(4))
    until(lambda: "cannot ship" in caplog.text)

    own_redis.start()
    until(lambda: own_redis.running and len(_ids(lanes)) == 7)

    assert _ids(lanes) == before + meanwhile
    assert "lovelace" not in caplog.text
    assert len(caplog.records) == 1
    client.close()


def _ids(lanes):
    try:
        return lanes.ids()
    except Exception as error:
        if type(error).__module__.startswith("redis."):
            return []
        raise


@pytest.mark.parametrize("after", ["restart of Redis alone", "restart of both"])
def test_redis_that_fell_back_within_the_window_gets_again_what_it_lost(
    engine, own_redis, relay, lanes_of, impatient, until, tmp_path, after
):
    settings = Settings(redis_url=own_redis.url)
    first = relay(engine, settings)
    client = connect(own_redis.url)
    lanes = lanes_of(client)
    kept = tracked(engine, range(3))
    until(lambda: lanes.length() == 3)
    own_redis.stop()
    shutil.copytree(own_redis.directory, tmp_path / "older")
    own_redis.start()
    lost = tracked(engine, range(4))
    until(lambda: len(_ids(lanes)) == 7)
    if after == "restart of both":
        first.stop()

    own_redis.kill()
    shutil.rmtree(own_redis.directory / "appendonlydir", ignore_errors=True)
    shutil.copytree(tmp_path / "older", own_redis.directory, dirs_exist_ok=True)
    own_redis.start()
    more = tracked(engine, range(2))
    if after == "restart of both":
        relay(engine, settings)
    until(lambda: len(_ids(lanes)) == 9)

    assert _ids(lanes) == kept + lost + more
    client.close()


def test_a_fall_of_redis_between_two_looks_is_noticed_by_the_lane(sqlite_engine, redis, lanes):
    ids = tracked(sqlite_engine, range(3))
    shipment = shipment_of(SqlAlchemyStore(sqlite_engine), redis)
    assert shipment.step()
    redis.flushall()
    ids += tracked(sqlite_engine, range(2))

    with pytest.raises(MarkFellBackError):
        shipment.step()

    assert lanes.length() == 0
    assert shipment_of(SqlAlchemyStore(sqlite_engine), redis).step()
    assert lanes.ids() == ids


def test_another_incarnation_of_redis_gets_what_it_lost_though_nothing_new_comes(
    sqlite_engine, own_redis, lanes_of, impatient, monkeypatch
):
    monkeypatch.setattr("klaviyo_relay.lane_entrance._SURVEY_SECONDS", 0.0)
    ids = tracked(sqlite_engine, range(3))
    relayed = OutboxShipper(SqlAlchemyStore(sqlite_engine), Settings(redis_url=own_redis.url))
    while relayed._pass():
        pass
    with connect(own_redis.url) as client:
        client.flushall()
    assert not relayed._pass()

    own_redis.restart()
    assert relayed._pass()

    with connect(own_redis.url) as client:
        assert lanes_of(client).ids() == ids
    relayed._leave()


def test_a_full_lane_holds_up_no_other(engine, relay, redis, lanes, impatient, until):
    counts = Settings().keys.lane("default", "events").counts
    redis.hset(counts, "bytes", 10**9)
    with engine.begin() as connection:
        events = [outbox.track(connection, "M", email=ADA) for _ in range(3)]
        profiles = [outbox.identify(connection, email=ADA, first_name="Ada")]
    relay(engine)

    until(lambda: lanes.ids("profiles") == profiles)
    assert lanes.length() == 0
    redis.hset(counts, "bytes", 0)
    until(lambda: lanes.ids() == events)


def test_a_batch_has_a_most_of_bytes(sqlite_engine, redis, lanes, monkeypatch):
    monkeypatch.setattr(lane_entrance, "BATCH_BYTES", 500)
    ids = tracked(sqlite_engine, range(7))
    shipment = shipment_of(SqlAlchemyStore(sqlite_engine), redis)

    steps = 0
    while shipment.step():
        steps += 1

    assert 2 < steps <= 7
    assert lanes.ids() == ids


def test_a_full_lane_is_complained_of_once_a_minute(
    sqlite_engine, redis, relay, impatient, until, caplog
):
    redis.hset(Settings().keys.lane("default", "events").counts, "bytes", 10**9)
    tracked(sqlite_engine, range(3))
    relay(sqlite_engine)
    until(lambda: caplog.records)
    with sqlite_engine.begin() as connection:
        outbox.identify(connection, email=ADA, first_name="Ada")
    until(lambda: redis.xlen(Settings().keys.lane("default", "profiles").stream))

    (said,) = caplog.records
    assert "the lane default:events holds as many bytes as it may" in said.getMessage()


# --- faults ---------------------------------------------------------------------------------------


def test_missing_tables_are_said_once_and_waited_for(
    bare_engine, relay, lanes, impatient, until, caplog
):
    engine = bare_engine
    relay(engine)
    until(lambda: "cannot ship" in caplog.text)

    outbox.create_tables(engine)
    tracked(engine, [1])
    until(lanes.length)

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Traceback" not in caplog.text


def test_a_fault_of_ours_is_logged_with_a_traceback_and_ends_nothing(
    sqlite_engine, relay, lanes, impatient, until, caplog, monkeypatch
):
    broken = threading.Event()
    step = Shipment.step

    def fail_once(self):
        if not broken.is_set():
            broken.set()
            raise KeyError("ours")
        return step(self)

    monkeypatch.setattr(Shipment, "step", fail_once)
    tracked(sqlite_engine, [1])
    relay(sqlite_engine)
    until(lanes.length)

    assert "Traceback" in caplog.text


@pytest.mark.usefixtures("unwritable_log")
@pytest.mark.parametrize("fault", [KeyError("ours"), MarkFellBackError(0)], ids=["ours", "a fall"])
def test_a_log_that_cannot_be_written_ends_nothing(
    sqlite_engine, relay, lanes, impatient, until, monkeypatch, fault
):
    faults, step = iter([fault]), Shipment.step

    def fail_once(self):
        for one in faults:
            raise one
        return step(self)

    monkeypatch.setattr(Shipment, "step", fail_once)
    tracked(sqlite_engine, [1])
    relay(sqlite_engine)

    until(lanes.length)


def test_wake_is_faster_than_the_poll(sqlite_engine, relay, lanes, until):
    started = relay(sqlite_engine, poll_seconds=1_000.0)
    until(lambda: SqlAlchemyStore(sqlite_engine).state().holder)
    tracked(sqlite_engine, [1])

    until(lambda: started.wake() or lanes.length())
