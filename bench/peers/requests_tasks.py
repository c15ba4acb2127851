"""Celery and requests: one task an event.

A session a thread keeps its connection alive. urllib3's Retry, as requests documents it for this
purpose, waits as long as `Retry-After` says, with as many attempts as the official SDK makes; after
that Celery's retry.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from requests import RequestException, Session
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from bench.order import event
from bench.peers.shop import ATTEMPTS, KEY, REQUEST_SECONDS, URL, retrying, shop

QUEUE = "shop-requests"
REVISION = "2026-07-15"
app = shop(QUEUE)
_own = threading.local()


def _session() -> Session:
    if not hasattr(_own, "session"):
        _own.session = Session()
        again = Retry(
            total=ATTEMPTS - 1,
            backoff_factor=0.5,
            status_forcelist=(429, 503, 504),
            allowed_methods=None,
        )
        _own.session.mount("http://", HTTPAdapter(max_retries=again))
        _own.session.headers.update(
            {"Authorization": f"Klaviyo-API-Key {os.environ[KEY]}", "revision": REVISION}
        )
    return _own.session


@app.task(**retrying(RequestException))
def deliver(self: Any, **order: Any) -> None:
    """The task's id makes the event unique however often it is sent."""
    url = f"{os.environ[URL]}/api/events"
    body = event(self.request.id, **order)
    _session().post(url, json=body, timeout=REQUEST_SECONDS).raise_for_status()
