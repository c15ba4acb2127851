"""What both Celery peers have in common: the call, and the worker's command line."""

from __future__ import annotations

import importlib
import os

from bench.order import METRIC, ORDER
from bench.peers.peer import Caller, Place

BROKER_VARIABLE = "BENCH_BROKER_URL"
THREADS = ("--pool", "threads", "--concurrency", "16")
PREFORK = ("--pool", "prefork", "--concurrency", "2")


def caller(tasks: str, place: Place) -> Caller:
    """Calls `deliver.delay` of a module of tasks."""
    os.environ[BROKER_VARIABLE] = place.redis_url
    module = importlib.import_module(f"bench.peers.{tasks}")
    return Caller(lambda: module.deliver.delay(metric=METRIC, **ORDER), module.app.close)


def worker(tasks: str, pool: tuple[str, ...]) -> tuple[str, ...]:
    """Neither gossip nor mingle: with one worker they would only cost."""
    celery = ("-m", "celery", "--app", f"bench.peers.{tasks}", "worker", "--loglevel", "WARNING")
    return (*celery, "--without-gossip", "--without-mingle", *pool)
