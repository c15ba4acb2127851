"""The end-to-end tests: real workers and commands around a site, see tests/props/sites.py."""

from __future__ import annotations

import pytest

import sites
from klaviyo_relay_worker.sandbox import Sandbox
from sites import Site

site, site_of = sites.site, sites.site_of


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
