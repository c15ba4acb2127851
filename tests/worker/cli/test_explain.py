"""`explain` in words: what this release cannot read is said so, wherever it is."""

from __future__ import annotations

import pytest

from klaviyo_relay import Identify, Producer
from klaviyo_relay_worker.outcome import Following, Parked
from settled_lanes import SettledLane

ADA = Identify(email="ada@lovelace.dev")


@pytest.mark.parametrize(
    ("outcome", "place"),
    [(Parked(3e9, "server_error"), "parked"), (Following("JOB", 0), "following")],
    ids=["parked", "in an import job"],
)
def test_what_only_another_release_can_read_is_said_so(run, redis, relay_settings, outcome, place):
    Producer(relay_settings).enqueue_many([ADA], bulk=False, timeout=10)
    with SettledLane(redis, relay_settings.keys, "profiles") as settled:
        [identity] = settled.settle(outcome)
    key = getattr(relay_settings.keys.lane("default", "profiles"), place)
    told = "this release cannot read it"
    assert told not in run("explain", identity).stdout
    [(name, stored)] = redis.hgetall(key).items()
    redis.hset(key, name, stored.replace(b'"identify"', b'"merge"'))
    assert told in run("explain", identity).stdout
