"""A Celery application whose tasks, and whose main process before it forks, call the producer."""

from __future__ import annotations

import os

from celery import Celery

import klaviyo_relay as klaviyo

app = Celery("shop", broker=os.environ["SHOP_BROKER"])
app.conf.update(
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_enable_remote_control=False,
)


def _track(number: int) -> None:
    identity = klaviyo.track("M", email="ada@lovelace.dev", value=number)
    ids = os.open(os.environ["SHOP_IDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(ids, identity.encode() + b"\n")
    os.close(ids)


@app.task(name="shop.order")
def order(number: int) -> None:
    """One order."""
    _track(number)


# Celery imports this before it forks, so its children inherit a spool, a thread and connections.
for first in range(10):
    _track(first)
