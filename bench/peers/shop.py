"""A Celery app as an application would make it by Celery's documentation; both peers' tasks use it.

`acks_late` with an idempotent task, `autoretry_for` with `retry_backoff`, jitter on (Celery's user
guide, "Tasks"), and no result backend. `max_retries` is None: with the default of 3 an event would
be given up after a few seconds, and nothing that loses events under Klaviyo's limits is a peer. The
rest is Celery's default.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from bench.peers.celery_calls import BROKER_VARIABLE

URL, KEY = "KLAVIYO_API_URL", "KLAVIYO_API_KEY"
# As klaviyo-relay's worker waits for an answer.
REQUEST_SECONDS = 7.0
# Attempts within one run of a task; the official client's default.
ATTEMPTS = 3


def shop(queue: str) -> Celery:
    """An app with a queue of its own."""
    app = Celery("shop", broker=os.environ[BROKER_VARIABLE], set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        task_default_queue=queue,
        broker_connection_retry_on_startup=True,
    )
    return app


def retrying(*errors: type[Exception]) -> dict[str, Any]:
    """The options of a task that is run again after these errors."""
    return {
        "bind": True,
        "acks_late": True,
        "autoretry_for": errors,
        "retry_backoff": True,
        "max_retries": None,
    }
