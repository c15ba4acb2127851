"""FastAPI and Starlette: an orderly shutdown.

    app = FastAPI(lifespan=lifespan)

    @asynccontextmanager                      # or inside a lifespan of your own
    async def my_lifespan(app):
        async with lifespan(app):
            yield

The verbs of `klaviyo_relay` may be called in coroutines as they are: they take microseconds and
never wait for the network. `unsubscribe` and `delete_profile` wait for the disk, some milliseconds:
a coroutine has `await unsubscribe_async(…)`. `enqueue_many`, `flush` and `close` wait for Redis:
call them in a thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool

from klaviyo_relay.producer import Producer, own

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from klaviyo_relay import Settings


@asynccontextmanager
async def lifespan(
    app: Starlette,  # noqa: ARG001 - what frameworks call a lifespan with
    *,
    settings: Settings | None = None,
    producer: Producer = own,
) -> AsyncIterator[None]:
    """Check the settings at start-up; flush and close at shutdown.

    uvicorn ends itself by the signal that it got, so without this nobody would wait for Redis;
    what it has not got would stay on the disk until another process of this machine ships it.

    Args:
        app: the application.
        settings: for this process's producer. Defaults to the environment's.
        producer: whom to close. Defaults to the process's own.

    Raises:
        ConfigurationError: at start-up, with every fault of the settings.
    """
    if settings is not None:
        producer.configure(lambda: settings)
    _ = producer.settings
    try:
        yield
    finally:
        await run_in_threadpool(producer.close)
