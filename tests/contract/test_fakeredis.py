"""Why the tests have real servers: what fakeredis can do of what lanes need.

Strict: the day that fakeredis can do it, this fails, and unit tests may use it.
"""

from __future__ import annotations

import fakeredis
import pytest
from redis import Redis
from redis.exceptions import ResponseError

from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance

PAIRS = [(1, b"first"), (2, b"second")]


@pytest.fixture(params=["fakeredis", "a real server"])
def any_redis(request: pytest.FixtureRequest) -> Redis:
    if request.param == "fakeredis":
        # fakeredis 2.40.0: its Lua refuses the first line of our scripts, "#!lua flags=...".
        request.applymarker(pytest.mark.xfail(raises=ResponseError, strict=True))
        return fakeredis.FakeRedis()
    client: Redis = request.getfixturevalue("redis")
    return client


def test_a_lane_takes_each_command_once(any_redis: Redis) -> None:
    entrance = LaneEntrance(any_redis, Keys(), 1_000_000)

    assert entrance.ship("default:events", "spool", PAIRS) == (2, 2)
    assert entrance.ship("default:events", "spool", [*PAIRS, (3, b"third")]) == (1, 3)
