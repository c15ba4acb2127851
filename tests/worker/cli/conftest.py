"""What the tests of the command line share: a Redis and a spool in the environment."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from klaviyo_relay import Producer, Settings
from klaviyo_relay.commands import Command
from klaviyo_relay_worker.cli.commands import cli
from klaviyo_relay_worker.outcome import Dead, Failure
from settled_lanes import SettledLane

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
        with SettledLane(redis, relay_settings.keys, commands[0].lane) as settled:
            return settled.settle(Dead(why), at=at)

    return bury
