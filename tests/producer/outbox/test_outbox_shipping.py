# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name
"""Commit, rollback, order, outages: a relay in a thread, on SQLite and on PostgreSQL."""

import asyncio
import logging
import shutil
import threading
from contextlib import suppress

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from klaviyo_relay import InvalidCommandError, Settings, Track
from klaviyo_relay.contrib import sqlalchemy as outbox
from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore
from klaviyo_relay.envelope import decode
from klaviyo_relay.errors import MarkFellBackError, RelayError
from klaviyo_relay.lane_entrance import LaneEntrance, Survey
from klaviyo_relay.outbox import LeaseLostError, OutboxShipper, shipper
from klaviyo_relay.outbox.shipper import Shipment
from klaviyo_relay.redis_clients import connect

ADA = "ada@lovelace.dev"
CHUNK = shipper.BATCH_ROWS


def rows_in(engine):
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(outbox._rows)).scalar_one()


def tracked(engine, values):
    """Commit one transaction with a track for each value; returns the ids."""
    with engine.begin() as connection:
        return [outbox.track(connection, "M", email=ADA, value=value) for value in values]


def test_a_command_carries_the_trace_of_its_call(sqlite_engine):
    provider = TracerProvider()
    with (
        provider.get_tracer("t").start_as_current_span("checkout") as span,
        sqlite_engine.begin() as connection,
    ):
        outbox.track(connection, "M", email=ADA)
        outbox.enqueue_many(connection, [Track(metric="M", email=ADA)])
    with sqlite_engine.connect() as connection:
        messages = connection.execute(select(outbox._rows.c.message)).scalars().all()

    traces = [decode(message).trace for message in messages]
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert [trace.split("-")[1] for trace in traces] == [trace_id] * 2


# --- commit and rollback --------------------------------------------------------------------------


def test_what_is_committed_is_in_the_lane_once_and_in_the_order_of_the_calls(
    engine, relay, lanes, wait_until
):
    committed = [*tracked(engine, range(3)), *tracked(engine, range(3, CHUNK + 700))]

    relay(engine)
    wait_until(lambda: lanes.length() == len(committed))
    later = tracked(engine, range(5))
    wait_until(lambda: lanes.length() == len(committed) + 5)

    assert lanes.ids() == committed + later


def test_what_is_rolled_back_never_was(engine, relay, lanes, wait_until):
    with Session(engine) as session:
        outbox.track(session, "M", email=ADA)
        session.rollback()
    with Session(engine) as session, suppress(ZeroDivisionError), session.begin():
        outbox.identify(session, email=ADA)
        raise ZeroDivisionError
    (marker,) = tracked(engine, [1])

    relay(engine)
    wait_until(lanes.length)

    assert lanes.ids() == [marker]
    assert lanes.length("profiles") == 0


def test_nothing_is_shipped_before_the_commit(postgres_engine, relay, lanes, wait_until):
    relay(postgres_engine)
    with Session(postgres_engine) as session, session.begin():
        open_id = outbox.track(session, "M", email=ADA)
        marker = tracked(postgres_engine, [1])
        wait_until(lanes.length)
        assert lanes.ids() == marker

    wait_until(lambda: lanes.length() == 2)
    assert lanes.ids() == [*marker, open_id]


def test_a_row_that_becomes_visible_after_a_higher_id_was_shipped_is_not_lost(
    postgres_engine, relay, lanes, wait_until
):
    """The trap of the outbox: the first INSERT commits last."""
    relay(postgres_engine)
    first, second = postgres_engine.connect(), postgres_engine.connect()
    early = [outbox.track(first, "M", email=ADA) for _ in range(3)]
    late = [outbox.track(second, "M", email=ADA) for _ in range(3)]
    early += [outbox.track(first, "M", email=ADA)]

    second.commit()
    wait_until(lambda: lanes.ids() == late)
    first.commit()
    wait_until(lambda: lanes.length() == 7)
    first.close()
    second.close()

    assert lanes.ids() == late + early


def test_many_open_transactions_that_commit_in_any_order_lose_nothing(
    postgres_engine, relay, lanes, wait_until
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
    wait_until(lambda: lanes.length() >= expected)

    place = {command_id: at for at, command_id in enumerate(lanes.ids())}
    assert sorted(place) == sorted(command_id for ids in committed for command_id in ids)
    assert len(place) == lanes.length()
    for ids in committed:
        assert sorted(ids, key=place.__getitem__) == ids


# --- the verbs ------------------------------------------------------------------------------------


def test_all_verbs_reach_their_lanes(sqlite_engine, relay, lanes, wait_until):
    list_id = "Y6nRLr"
    with Session(sqlite_engine) as session, session.begin():
        expected = {
            "events": [
                outbox.track(session, "M", email=ADA, profile={"first_name": "Ada"}),
                outbox.track_once(session, "M", email=ADA),
                outbox.enqueue(session, Track(metric="M", email=ADA)),
            ],
            "profiles": [outbox.identify(session, email=ADA, last_name="Lovelace")],
            "lists": [
                outbox.add_to_list(session, list_id, email=ADA),
                outbox.remove_from_list(session, list_id, email=ADA),
                outbox.create_list(session, "VIP"),
                outbox.rename_list(session, list_id, new_name="VIP"),
                outbox.delete_list(session, list_id),
            ],
            "consent": [
                outbox.subscribe(session, list_id, email=ADA),
                outbox.unsubscribe(session, list_id, email=ADA),
                outbox.suppress(session, email=ADA),
                outbox.unsuppress(session, email=ADA),
            ],
            "privacy": [outbox.delete_profile(session, email=ADA)],
        }
        given = outbox.enqueue_many(session, (Track(metric="M", email=ADA) for _ in range(501)))
        outbox.on(session).track("M", email=ADA, account="shop_2")

    relay(sqlite_engine)
    wait_until(lambda: rows_in(sqlite_engine) == 501 + 16 and lanes.length("privacy"))
    wait_until(lambda: lanes.length("events:bulk") == 501 and lanes.length("events", "shop_2"))

    assert given == (501, 501)
    for lane, ids in expected.items():
        wait_until(lambda lane=lane, ids=ids: lanes.length(lane) >= len(ids))
        # The attributes beside the event travel as an identify of their own, before it.
        assert lanes.ids(lane)[-len(ids) :] == ids
    assert lanes.entries("profiles")[0].envelope.command.first_name == "Ada"
    assert lanes.entries()[1].envelope.command.unique_id == "once"


def test_an_invalid_command_raises_at_the_call_and_stores_nothing(sqlite_engine):
    with sqlite_engine.begin() as connection:
        with pytest.raises(InvalidCommandError, match="email"):
            outbox.track(connection, "M", email="nobody")
        with pytest.raises(InvalidCommandError, match="account"):
            outbox.track(connection, "M", email=ADA, account="Shop")
        with pytest.raises(InvalidCommandError, match="unique_id"):
            outbox.track_once(connection, "M", email=ADA, unique_id="1")

    assert rows_in(sqlite_engine) == 0


@pytest.mark.parametrize("wrong", ["engine", None], ids=["engine", "none"])
def test_what_is_no_session_is_refused(sqlite_engine, wrong):
    with pytest.raises(TypeError, match="Session"):
        outbox.track(wrong and sqlite_engine, "M", email=ADA)


def test_an_asynchronous_session_is_refused_and_run_sync_is_the_way(
    postgres_url, postgres_engine, relay, lanes, wait_until
):
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def work():
        asynchronous = create_async_engine(postgres_url)
        async with AsyncSession(asynchronous) as session, session.begin():
            with pytest.raises(TypeError, match="run_sync"):
                outbox.track(session, "M", email=ADA)
            command_id = await session.run_sync(outbox.track, "M", email=ADA)
        with pytest.raises(TypeError, match="create_engine"):
            SqlAlchemyStore(asynchronous)
        await asynchronous.dispose()
        return command_id

    relay(postgres_engine)
    command_id = asyncio.run(work())
    wait_until(lanes.length)

    assert lanes.ids() == [command_id]


def test_a_scoped_session_will_do(sqlite_engine):
    session = scoped_session(sessionmaker(sqlite_engine))
    outbox.track(session, "M", email=ADA)
    session.commit()
    session.remove()

    assert rows_in(sqlite_engine) == 1


def test_an_error_of_the_database_does_not_tell_the_command(bare_engine):
    with bare_engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        outbox.track(connection, "M", email=ADA)

    assert "klaviyo_relay_outbox" in str(caught.value)
    assert "parameters hidden" in str(caught.value)
    assert "lovelace" not in str(caught.value)


@pytest.mark.parametrize("more", [{"source": "s"}, {"timeout": 1.0}])
def test_a_load_has_no_source_and_no_timeout(sqlite_engine, more):
    with sqlite_engine.connect() as connection, pytest.raises(TypeError, match="straight"):
        outbox.enqueue_many(connection, [], **more)


def test_flush_is_refused_because_nothing_is_committed_yet(sqlite_engine):
    with sqlite_engine.connect() as connection, pytest.raises(RelayError, match="commit"):
        outbox.on(connection).flush()


def test_what_would_run_in_another_thread_and_transaction_is_refused(sqlite_engine):
    with sqlite_engine.connect() as connection:
        verbs = outbox.on(connection)
        for refused in (
            verbs.unsubscribe_async(email=ADA),
            verbs.delete_profile_async(email=ADA),
        ):
            with pytest.raises(RelayError, match="plain verb"):
                asyncio.run(refused)


# --- the window -----------------------------------------------------------------------------------


def test_shipped_rows_stay_for_the_window_and_are_deleted_after_it(
    engine, relay, lanes, wait_until, monkeypatch
):
    monkeypatch.setattr(shipper, "RESHIP_SECONDS", 1_000.0)
    tracked(engine, range(CHUNK + 1))
    first = relay(engine)
    wait_until(lambda: lanes.length() == CHUNK + 1)
    first.stop()
    assert rows_in(engine) == CHUNK + 1

    monkeypatch.setattr(shipper, "RESHIP_SECONDS", 0.0)
    relay(engine)
    wait_until(lambda: rows_in(engine) == 0)
    after = tracked(engine, range(3))
    wait_until(lambda: lanes.length() == CHUNK + 4)

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


def shipment_of(store, redis, holder="me", lanes=()):
    if store.state().holder != holder:
        store.take(holder, store.state().beat)
    return Shipment(store, LaneEntrance(redis, Settings().keys, 10**9), holder, lanes)


# --- Redis ----------------------------------------------------------------------------------------


def test_redis_away_and_back(engine, server, relay, lanes_of, impatient, wait_until, caplog):
    relay(engine, Settings(redis_url=server.url))
    client = connect(server.url)
    lanes = lanes_of(client)
    before = tracked(engine, range(3))
    wait_until(lambda: lanes.length() == 3)
    server.kill()
    meanwhile = tracked(engine, range(4))
    wait_until(lambda: "cannot ship" in caplog.text)

    server.start()
    wait_until(lambda: server.running and len(_ids(lanes)) == 7)

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
    engine, server, relay, lanes_of, impatient, wait_until, tmp_path, after
):
    settings = Settings(redis_url=server.url)
    first = relay(engine, settings)
    client = connect(server.url)
    lanes = lanes_of(client)
    kept = tracked(engine, range(3))
    wait_until(lambda: lanes.length() == 3)
    server.stop()
    shutil.copytree(server.directory, tmp_path / "older")
    server.start()
    lost = tracked(engine, range(4))
    wait_until(lambda: len(_ids(lanes)) == 7)
    if after == "restart of both":
        first.stop()

    server.kill()
    shutil.rmtree(server.directory / "appendonlydir", ignore_errors=True)
    shutil.copytree(tmp_path / "older", server.directory, dirs_exist_ok=True)
    server.start()
    more = tracked(engine, range(2))
    if after == "restart of both":
        relay(engine, settings)
    wait_until(lambda: len(_ids(lanes)) == 9)

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
    sqlite_engine, redis, redis_url, lanes, monkeypatch
):
    ids = tracked(sqlite_engine, range(3))
    relayed = OutboxShipper(SqlAlchemyStore(sqlite_engine), Settings(redis_url=redis_url))
    while relayed._pass():
        pass
    redis.flushall()
    assert not relayed._pass()

    monkeypatch.setattr(LaneEntrance, "survey", lambda _: Survey("another", is_full=False))
    assert relayed._pass()

    assert lanes.ids() == ids
    relayed._leave()


def test_a_full_lane_holds_up_no_other(engine, relay, redis, lanes, impatient, wait_until):
    counts = Settings().keys.lane("default", "events").counts
    redis.hset(counts, "bytes", 10**9)
    with engine.begin() as connection:
        events = [outbox.track(connection, "M", email=ADA) for _ in range(3)]
        profiles = [outbox.identify(connection, email=ADA, first_name="Ada")]
    relay(engine)

    wait_until(lambda: lanes.ids("profiles") == profiles)
    assert lanes.length() == 0
    redis.hset(counts, "bytes", 0)
    wait_until(lambda: lanes.ids() == events)


def test_a_batch_has_a_most_of_bytes(sqlite_engine, redis, lanes, monkeypatch):
    monkeypatch.setattr(shipper, "BATCH_BYTES", 500)
    ids = tracked(sqlite_engine, range(7))
    shipment = shipment_of(SqlAlchemyStore(sqlite_engine), redis)

    steps = 0
    while shipment.step():
        steps += 1

    assert 2 < steps <= 7
    assert lanes.ids() == ids


# --- a database that remembers less ---------------------------------------------------------------


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


# --- several relays -------------------------------------------------------------------------------


def test_two_relays_that_both_believe_to_be_the_one_are_harmless(engine, relay, lanes, wait_until):
    # With a lease of no length each takes it from the other at every pass.
    for _ in range(3):
        relay(engine, lease_seconds=1e-9)
    committed = []
    for number in range(40):
        committed += tracked(engine, range(number % 7))

    wait_until(lambda: lanes.length() >= len(committed))
    assert lanes.ids() == committed


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


def test_the_second_relay_stands_by_and_takes_over_from_one_that_ended(
    engine, relay, lanes, wait_until
):
    store = SqlAlchemyStore(engine)
    first = relay(engine, lease_seconds=1_000.0)
    holder = wait_until(lambda: store.state().holder)
    relay(engine, lease_seconds=1_000.0)
    tracked(engine, range(20))
    wait_until(lambda: lanes.length() == 20)
    assert store.state().holder == holder

    first.stop()
    wait_until(lambda: store.state().holder not in (None, holder))
    tracked(engine, range(5))
    wait_until(lambda: lanes.length() == 25)


def test_the_second_relay_takes_over_from_one_that_went_silent(sqlite_engine, relay, wait_until):
    store = SqlAlchemyStore(sqlite_engine)
    assert store.take("dead", store.state().beat)

    relay(sqlite_engine, lease_seconds=0.3)

    wait_until(lambda: store.state().holder != "dead")


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


# --- faults ---------------------------------------------------------------------------------------


def test_missing_tables_are_said_once_and_waited_for(
    bare_engine, relay, lanes, impatient, wait_until, caplog
):
    engine = bare_engine
    relay(engine)
    wait_until(lambda: "cannot ship" in caplog.text)

    outbox.create_tables(engine)
    tracked(engine, [1])
    wait_until(lanes.length)

    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Traceback" not in caplog.text


def test_a_fault_of_ours_is_logged_with_a_traceback_and_ends_nothing(
    sqlite_engine, relay, lanes, impatient, wait_until, caplog, monkeypatch
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
    wait_until(lanes.length)

    assert "Traceback" in caplog.text


def test_wake_is_faster_than_the_poll(sqlite_engine, relay, lanes, wait_until):
    started = relay(sqlite_engine, poll_seconds=1_000.0)
    wait_until(lambda: SqlAlchemyStore(sqlite_engine).state().holder)
    tracked(sqlite_engine, [1])

    wait_until(lambda: started.wake() or lanes.length())
