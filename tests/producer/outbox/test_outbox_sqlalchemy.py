"""`klaviyo_relay.contrib.sqlalchemy`: which sessions will do, and what the database raises."""

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import scoped_session, sessionmaker

from klaviyo_relay.contrib import sqlalchemy as outbox
from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore
from outboxes import ADA, rows_in


@pytest.mark.parametrize("wrong", ["engine", None], ids=["engine", "none"])
def test_what_is_no_session_is_refused(sqlite_engine, wrong):
    with pytest.raises(TypeError, match="Session"):
        outbox.track(wrong and sqlite_engine, "M", email=ADA)


def test_an_asynchronous_session_is_refused_and_run_sync_is_the_way(
    postgres_url, postgres_engine, relay, lanes, until
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
    until(lanes.length)

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
