"""What the tests of the command line share: a Redis and a spool in the environment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from klaviyo_relay import Producer, Settings
from klaviyo_relay.commands import Command
from klaviyo_relay_worker.cli.commands import cli
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease
from klaviyo_relay_worker.outcome import Dead, Failure

WHY = Failure(status=400, code="invalid", title="Invalid", detail="is wrong")


@pytest.fixture
def environment(relay_settings: Settings) -> dict[str, str]:
    """The variables of a process that belongs to this test's Redis and spool."""
    return {
        "KLAVIYO_RELAY_REDIS_URL": relay_settings.redis_url,
        "KLAVIYO_RELAY_SPOOL_DIR": str(relay_settings.spool_dir),
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., Result]:
    """The command line in this process: a process of its own takes a second to start."""

    def run(*arguments: str, **more: str) -> Result:
        done = CliRunner().invoke(cli, arguments, env={**environment, **more})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


@pytest.fixture
def bury(redis, relay_settings: Settings) -> Callable[..., list[str]]:
    """Commands of one lane die as a planner makes them die; returns their ids."""

    def bury(*commands: Command, why: Failure = WHY, at: float = 1_700_000_000.0) -> list[str]:
        Producer(relay_settings).enqueue_many(commands, bulk=False, timeout=10)
        lane = Lane(redis, relay_settings.keys, "default", commands[0].lane)
        lease = Lease(lane.keys.lease)
        redis.set(lease.key, lease.token)
        entries, _, _ = lane.read("0-0", len(commands))
        lane.settle(lease, entries, {entry.key: Dead(why) for entry in entries}, at)
        redis.delete(lease.key)
        return [entry.envelope.id for entry in entries]

    return bury
