"""The end-to-end tests: real workers and commands around a site, see tests/props/sites.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import sites
from klaviyo_relay.commands import Command
from klaviyo_relay_worker.sandbox import Sandbox
from sites import Site
from waiting import wait_until

site, site_of = sites.site, sites.site_of


@pytest.fixture
def until() -> Callable[..., Any]:
    """See wait_until."""
    return wait_until


@pytest.fixture
def tracks() -> Callable[[int], list[Command]]:
    """Many events of different people."""
    from klaviyo_relay import Track

    return lambda number: [
        Track(metric="Placed Order", email=f"p{at}@shop.io") for at in range(number)
    ]


@pytest.fixture
def dead_ids(site: Site, sandbox: Sandbox) -> list[str]:
    """Two dead letters; the worker that made them has ended."""
    from klaviyo_relay import Track

    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    worker = site.worker()
    site.enqueue(*(Track(metric="M", email=f"poison{n}@shop.io") for n in range(2)))
    site.wait_for_rest()
    assert worker.end() == 0
    return sorted(letter.id for letter in site.dead())
