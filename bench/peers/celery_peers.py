"""One Celery task an event, which calls Klaviyo with the official SDK or with requests.

Each with a worker of threads, and once more with one of processes.
"""

from __future__ import annotations

from functools import partial

from bench.peers import celery_calls
from bench.peers.peer import Peer


def _peer(library: str, *, name: str, title: str, tasks: str, queue: str) -> Peer:
    """A peer whose tasks are in bench/peers; `queue` is theirs."""
    return Peer(
        name=name,
        title=title,
        caller=partial(celery_calls.caller, tasks),
        module=library,
        imports=f"from celery import Celery; import kombu.transport.redis; import {library}",
        worker=celery_calls.worker(tasks, celery_calls.THREADS),
        uses_redis=True,
        calls=2_000,
        arrived=lambda place: place.queue_length(queue),
    )


def _prefork(peer: Peer, tasks: str) -> Peer:
    return peer._replace(
        name=f"{peer.name}-prefork",
        title="the same, prefork, 2 processes",
        worker=celery_calls.worker(tasks, celery_calls.PREFORK),
        is_variant=True,
    )


SDK = _peer(
    "klaviyo_api",
    name="celery-sdk",
    title="Celery + klaviyo-api",
    tasks="sdk_tasks",
    queue="shop-sdk",
)
SDK_PREFORK = _prefork(SDK, "sdk_tasks")
REQUESTS = _peer(
    "requests",
    name="celery-requests",
    title="Celery + requests",
    tasks="requests_tasks",
    queue="shop-requests",
)
REQUESTS_PREFORK = _prefork(REQUESTS, "requests_tasks")
