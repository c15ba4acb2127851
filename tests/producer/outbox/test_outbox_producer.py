"""`OutboxProducer`: the verbs in a transaction, by way of SQLAlchemy."""

import asyncio

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import select
from sqlalchemy.orm import Session

from klaviyo_relay import InvalidCommandError, Track
from klaviyo_relay.contrib import sqlalchemy as outbox
from klaviyo_relay.envelope import decode
from klaviyo_relay.errors import NotInAnOutboxError
from outboxes import ADA, rows_in


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


def test_all_verbs_reach_their_lanes(sqlite_engine, relay, lanes, until):
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
    until(lambda: rows_in(sqlite_engine) == 501 + 16 and lanes.length("privacy"))
    until(lambda: lanes.length("events:bulk") == 501 and lanes.length("events", "shop_2"))

    assert given == (501, 501)
    for lane, ids in expected.items():
        until(lambda lane=lane, ids=ids: lanes.length(lane) >= len(ids))
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


@pytest.mark.parametrize("more", [{"source": "s"}, {"timeout": 1.0}])
def test_a_load_has_no_source_and_no_timeout(sqlite_engine, more):
    with sqlite_engine.connect() as connection, pytest.raises(TypeError, match="straight"):
        outbox.enqueue_many(connection, [], **more)


def test_what_is_no_command_is_refused_before_it_is_stored(sqlite_engine):
    with sqlite_engine.begin() as connection:
        verbs = outbox.on(connection)
        for refused in (verbs.enqueue_together, verbs.enqueue_many):
            with pytest.raises(InvalidCommandError, match="must be a command, not str"):
                refused(["track"])

    assert rows_in(sqlite_engine) == 0


def test_the_id_of_a_list_is_refused_because_the_command_is_not_committed_yet(sqlite_engine):
    with sqlite_engine.connect() as connection, pytest.raises(NotInAnOutboxError, match="commit"):
        outbox.on(connection).created_list("018f", account="default", timeout=1.0)


def test_flush_is_refused_because_nothing_is_committed_yet(sqlite_engine):
    with sqlite_engine.connect() as connection, pytest.raises(NotInAnOutboxError, match="commit"):
        outbox.on(connection).flush()


def test_what_would_run_in_another_thread_and_transaction_is_refused(sqlite_engine):
    with sqlite_engine.connect() as connection:
        verbs = outbox.on(connection)
        for refused in (
            verbs.unsubscribe_async(email=ADA),
            verbs.delete_profile_async(email=ADA),
        ):
            with pytest.raises(NotInAnOutboxError, match="plain verb"):
                asyncio.run(refused)
