"""A WSGI application that tracks: if told to, while it is imported; then in each request."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

import klaviyo_relay as klaviyo

FIRST = (
    [klaviyo.track("imported", email="ada@lovelace.dev")]
    if os.environ.get("SITE_TRACKS_FIRST")
    else []
)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the ids, and the process that stored them."""
    ids = [klaviyo.track("M", email="ada@lovelace.dev") for _ in range(5)]
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"first": FIRST, "ids": ids, "pid": os.getpid()}).encode()]
