"""The checkup of what Redis's settings mean: what may be lost, and when."""

from __future__ import annotations

import pytest

from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.redis_checkup import check_persistence


@pytest.fixture
def bent():
    """A client of a server that a test may bend."""
    with PrivateRedis() as server:
        client = connect(server.url)
        yield client
        client.close()


def levels(redis):
    return [(one.level, one.text) for one in check_persistence(redis)]


def test_our_own_configuration_is_well(redis):
    [(level, text)] = levels(redis)
    assert (level, "everysec" in text) == ("ok", True)


@pytest.mark.parametrize(
    ("setting", "value", "level", "said"),
    [
        ("appendfsync", "always", "ok", "before it is answered"),
        ("appendfsync", "no", "warning", "set appendfsync everysec"),
        ("no-appendfsync-on-rewrite", "yes", "warning", "set it to no"),
    ],
)
def test_a_setting_says_what_a_power_cut_costs(bent, setting, value, level, said):
    bent.config_set(setting, value)
    assert [one for one, text in levels(bent) if said in text] == [level]


def test_without_an_append_only_file_there_is_no_more_to_say_of_it(bent):
    bent.config_set("appendonly", "no")
    assert levels(bent) == []


def test_a_setting_that_may_not_be_read_is_no_fault(bent):
    bent.acl_setuser("kept", enabled=True, nopass=True, keys="*", commands=["+@all", "-config"])
    url = f"redis://kept:any@127.0.0.1:{bent.connection_pool.connection_kwargs['port']}/0"
    [(level, text)] = levels(connect(url))
    assert (level, "cannot be read" in text) == ("ok", True)


@pytest.mark.parametrize(
    ("info", "level", "said"),
    [
        ({"loading": 1}, "fault", "is loading"),
        ({"rdb_last_bgsave_status": "err"}, "fault", "MISCONF"),
        ({"aof_last_bgrewrite_status": "err"}, "warning", "Redis's disk"),
    ],
    ids=["loading", "snapshot", "rewrite"],
)
def test_what_redis_says_of_its_files_is_passed_on(redis, info, level, said):
    redis.set_response_callback("INFO", lambda _answer, **_options: info)
    [(of, text)] = levels(redis)
    assert (of, said in text) == (level, True)


def test_where_redis_does_not_answer_there_is_nothing_to_say():
    assert levels(connect("redis://127.0.0.1:1/0")) == []
