"""Nothing is left to import once the module is there."""

import subprocess
import sys

from klaviyo_relay_worker.embedded import PrivateRedis

FIRST_USE = """
import sys
import klaviyo_relay.redis_imports
from klaviyo_relay.keys import Keys
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect

before = set(sys.modules)
entrance = LaneEntrance(connect(sys.argv[1]), Keys(), 10**9)
entrance.survey()
entrance.ship("default:events", "load-x", [(1, b"{}")])
entrance.close()
print(*sorted(set(sys.modules) - before))
"""


def test_the_first_use_of_redis_imports_nothing_more():
    with PrivateRedis() as server:
        command = [sys.executable, "-c", FIRST_USE, server.url]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)

    assert said.stdout.split() == []
