import asyncio

import pytest
from fastapi import FastAPI

import klaviyo_relay
from klaviyo_relay import Producer, Settings
from klaviyo_relay.contrib.fastapi import lifespan
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.testing import capture
from spool_files import spool_of

ADA = "ada@lovelace.dev"


async def live(app, during):
    """What a server does: the lifespan of the application, with its life inside."""
    async with app.router.lifespan_context(app):
        during()


@pytest.fixture(autouse=True)
def _the_processs_own_producer():
    yield
    klaviyo_relay._default.configure(Settings.from_env)


def test_shutdown_flushes_and_closes(relay_settings, redis):
    async def with_settings(app):
        async with lifespan(app, settings=relay_settings):
            yield

    from contextlib import asynccontextmanager

    app = FastAPI(lifespan=asynccontextmanager(with_settings))
    asyncio.run(live(app, lambda: klaviyo_relay.track("M", email=ADA)))

    assert redis.xlen("kr:{default:events}:stream") == 1
    assert spool_of(klaviyo_relay._default) is None


def test_shutdown_closes_after_an_error_too(relay_settings, redis):
    own = Producer(relay_settings)

    def fail():
        own.track("M", email=ADA)
        raise KeyError

    async def run():
        async with lifespan(FastAPI(), producer=own):
            fail()

    with pytest.raises(KeyError):
        asyncio.run(run())

    assert redis.xlen("kr:{default:events}:stream") == 1
    assert spool_of(own) is None


def test_faulty_settings_stop_the_start(monkeypatch):
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", "http://x")
    klaviyo_relay._default.configure(Settings.from_env)

    with pytest.raises(ConfigurationError, match="KLAVIYO_RELAY_REDIS_URL"):
        asyncio.run(live(FastAPI(lifespan=lifespan), lambda: None))


def test_in_a_test_the_lifespan_leaves_a_capture_alone():
    with capture() as relay:
        asyncio.run(live(FastAPI(lifespan=lifespan), lambda: klaviyo_relay.track("M", email=ADA)))
        relay.assert_tracked("M")
