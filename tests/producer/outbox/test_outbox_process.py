"""A relay as a process: how it is told to begin and to end."""

import signal
import subprocess
import sys

import pytest

from environment import environment_of
from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore
from outboxes import LANES, check_exactly_once_and_in_order, committed


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_that_is_told_to_end_does_so_and_gives_the_lease_back(
    engine, relays, lanes, until, how
):
    process = relays.start()
    committed(engine, 4)
    until(lambda: sum(map(lanes.length, LANES)) == 7)

    process.send_signal(how)

    assert process.wait(10) == 0
    assert SqlAlchemyStore(engine).state().holder is None


def program(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "klaviyo_relay.outbox", *arguments],
        env=environment_of(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ([], {}, "KLAVIYO_RELAY_OUTBOX_URL"),
        (["nonsense"], {}, "URL"),
        (["sqlite://"], {"KLAVIYO_RELAY_REDIS_URL": "http://x"}, "KLAVIYO_RELAY_REDIS_URL"),
        (["sqlite://", "--poll", "0"], {}, "above 0"),
        (["sqlite:////nowhere/x.db", "--create-tables"], {}, "unable to open"),
    ],
    ids=["no URL", "no such URL", "settings", "poll", "no database"],
)
def test_wrong_usage_ends_with_two_and_says_why(arguments, environment, said):
    ended = program(*arguments, **environment)

    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_url_may_come_from_the_environment_and_the_tables_from_the_command(
    redis_url, lanes, bare_engine, database_url, until
):
    environment = environment_of(
        KLAVIYO_RELAY_REDIS_URL=redis_url, KLAVIYO_RELAY_OUTBOX_URL=database_url
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "klaviyo_relay.outbox", "--create-tables"], env=environment
    )
    try:
        store = SqlAlchemyStore(bare_engine)
        until(lambda: has_tables(bare_engine) and store.state().holder)
        transactions = committed(bare_engine, 2)
        until(lambda: sum(map(lanes.length, LANES)) == 3)
    finally:
        process.terminate()
        assert process.wait(10) == 0
    check_exactly_once_and_in_order(lanes, transactions)


def has_tables(engine):
    from sqlalchemy import inspect

    return inspect(engine).has_table("klaviyo_relay_outbox_state")


def test_the_base_install_needs_neither_sqlalchemy_nor_django():
    code = (
        "import sys, klaviyo_relay, klaviyo_relay.outbox, klaviyo_relay.outbox.process\n"
        "import klaviyo_relay.contrib, klaviyo_relay.legacy\n"
        "print([n for n in ('sqlalchemy', 'django', 'redis') if n in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert said.strip() == "[]"
