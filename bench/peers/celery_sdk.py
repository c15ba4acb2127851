"""Celery and the official SDK (klaviyo-api): one task an event."""

from __future__ import annotations

from functools import partial

from bench.peers import celery_calls
from bench.peers.peer import Peer

TASKS, QUEUE = "sdk_tasks", "shop-sdk"

PEER = Peer(
    name="celery-sdk",
    title="Celery + klaviyo-api",
    caller=partial(celery_calls.caller, TASKS),
    module="klaviyo_api",
    imports="from celery import Celery; import kombu.transport.redis; import klaviyo_api",
    worker=celery_calls.worker(TASKS, celery_calls.THREADS),
    uses_redis=True,
    calls=2_000,
    arrived=partial(celery_calls.waiting, QUEUE),
)
PREFORK = PEER._replace(
    name="celery-sdk-prefork",
    title="the same, prefork, 2 processes",
    worker=celery_calls.worker(TASKS, celery_calls.PREFORK),
    is_variant=True,
)
