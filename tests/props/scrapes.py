"""What a process of ours serves for Prometheus."""

from __future__ import annotations

import re
import urllib.request

from processes import Process
from waiting import wait_until

_SAID = re.compile(r"metrics at (http://[0-9.:]+/metrics)")


def metrics_url(process: Process, seconds: float = 60.0) -> str:
    """Where a worker or `klaviyo-relay metrics` says that its metrics are."""
    found = wait_until(lambda: _SAID.search(process.log()), seconds, process.log)
    assert found is not None
    return found[1]


def page_at(url: str) -> str:
    """The body of an answer on loopback."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
        text: str = answer.read().decode()
    return text
