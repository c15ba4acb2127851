"""Redis for the command line: waited for, and said once without its password."""

from __future__ import annotations

import logging
import threading

from klaviyo_relay_worker.cli.redis_access import wait_for_redis
from klaviyo_relay_worker.embedded import PrivateRedis


def test_a_redis_that_answers_is_not_waited_for(redis_url, caplog):
    assert wait_for_redis(redis_url).ping()
    assert caplog.records == []


def test_a_redis_that_is_away_is_waited_for_and_that_is_said_once(caplog, until):
    caplog.set_level(logging.WARNING, logger="klaviyo_relay_worker.redis_access")
    found = []
    with PrivateRedis() as server:
        server.stop()
        waiting = threading.Thread(target=lambda: found.append(wait_for_redis(server.url)))
        waiting.start()
        until(lambda: caplog.records)
        server.start()
        waiting.join(30)
        assert found[0].ping()
        [record] = caplog.records
        assert record.getMessage().startswith("waiting for Redis at redis://")
        password = server.url.partition("//:")[2].partition("@")[0]
        assert password not in record.getMessage()
