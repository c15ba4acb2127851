"""A WSGI application that tracks: once when it is imported, before its server forks, then per request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import klaviyo_relay as klaviyo

FIRST = klaviyo.track("imported", email="ada@lovelace.dev")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the ids, and the process that stored them."""
    ids = [klaviyo.track("M", email="ada@lovelace.dev") for _ in range(5)]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"first": FIRST, "ids": ids, "pid": os.getpid()}).encode()]
