"""Celery and the official SDK: one task an event.

A client a thread, made once: each keeps its connection alive. The client itself waits as long as
`Retry-After` says after a 429, three attempts in all (its defaults); after that Celery's retry.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from klaviyo_api import KlaviyoAPI
from openapi_client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from bench.order import event
from bench.peers.shop import ATTEMPTS, KEY, REQUEST_SECONDS, URL, retrying, shop

QUEUE = "shop-sdk"
app = shop(QUEUE)
_own = threading.local()


def _events() -> Any:
    if not hasattr(_own, "events"):
        client = KlaviyoAPI(os.environ[KEY], max_retries=ATTEMPTS, test_host=os.environ[URL])
        _own.events = client.Events
    return _own.events


@app.task(**retrying(ApiException, HTTPError))
def deliver(self: Any, **order: Any) -> None:
    """The task's id makes the event unique however often it is sent."""
    _events().create_event(event(self.request.id, **order), _request_timeout=REQUEST_SECONDS)
