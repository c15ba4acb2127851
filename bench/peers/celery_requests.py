"""Celery and requests: one task an event."""

from __future__ import annotations

from functools import partial

from bench.peers import celery_calls
from bench.peers.peer import Peer

TASKS, QUEUE = "requests_tasks", "shop-requests"

PEER = Peer(
    name="celery-requests",
    title="Celery + requests",
    caller=partial(celery_calls.caller, TASKS),
    module="requests",
    imports="from celery import Celery; import kombu.transport.redis; import requests",
    worker=celery_calls.worker(TASKS, celery_calls.THREADS),
    uses_redis=True,
    calls=2_000,
    arrived=partial(celery_calls.waiting, QUEUE),
)
PREFORK = PEER._replace(
    name="celery-requests-prefork",
    title="the same, prefork, 2 processes",
    worker=celery_calls.worker(TASKS, celery_calls.PREFORK),
    is_variant=True,
)
