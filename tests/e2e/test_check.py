"""`klaviyo-relay check`: every fault is found, with its fix, and the exit code tells."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from klaviyo_relay import Track
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker import checkup, redis_checkup, work_checkup
from klaviyo_relay_worker.breaker import WHOLE_ACCOUNT, Breakers
from klaviyo_relay_worker.cli.commands import cli
from klaviyo_relay_worker.doorbell import Doorbell
from klaviyo_relay_worker.embedded import PrivateRedis

AWAY = "redis://:kept.secret@127.0.0.1:1/0"


class Findings:
    """What the checkup said."""

    def __init__(self, done):
        self.exit_code, self.output = done.exit_code, done.output
        self.all = [json.loads(line) for line in done.stdout.splitlines()]

    def of(self, subject, level=None):
        return [
            one["text"]
            for one in self.all
            if one["subject"] == subject and level in (None, one["level"])
        ]


@pytest.fixture
def check(site, monkeypatch):
    """Runs it; the disk of the tests may be whatever it is."""
    monkeypatch.setattr(checkup, "why_unsuitable", lambda _: None)
    monkeypatch.setattr(checkup, "_ROOM_SCANT", 0)

    def check(*arguments, **more):
        environment = {**site.environment, **more}
        done = CliRunner().invoke(cli, ["check", "--json", *arguments], env=environment)
        assert isinstance(done.exception, SystemExit | None), done.exception
        return Findings(done)

    return check


@pytest.fixture
def own_site(site_of, monkeypatch):
    """A site with a server that a test may bend; gives the site and the server's client."""
    with PrivateRedis() as server:
        made = site_of(server.url)
        client = connect(server.url)
        client.config_set("maxmemory", 100_000_000)
        yield made, client
        client.close()


@pytest.fixture
def bent(own_site, check):
    """Runs it on that server."""
    made, client = own_site
    return client, lambda: check(KLAVIYO_RELAY_REDIS_URL=made.settings.redis_url)


def test_where_nothing_is_wrong_the_exit_code_is_0(own_site, check):
    made, client = own_site
    bell = Doorbell(client, made.settings.keys, lambda *_: None)
    bell.start()
    try:
        found = check(KLAVIYO_RELAY_REDIS_URL=made.settings.redis_url)
    finally:
        bell.stop()
    assert {one["level"] for one in found.all} == {"ok"}, found.output
    assert found.exit_code == 0
    subjects = {one["subject"] for one in found.all}
    assert subjects >= {"spool", "redis", "durability", "broker", "worker", "key default"}


def test_warnings_alone_are_3_and_a_fault_is_1(bent):
    client, check = bent
    found = check()
    assert found.exit_code == 3, found.output
    assert "start one" in found.of("worker", "warning")[0]
    client.config_set("appendonly", "no")
    assert check().exit_code == 3
    client.replicaof("127.0.0.1", 1)
    assert check().exit_code == 1


@pytest.mark.parametrize(
    ("setting", "value", "subject", "fix"),
    [
        ("appendonly", "no", "durability", "set appendonly yes"),
        ("appendfsync", "no", "durability", "set appendfsync everysec"),
        ("no-appendfsync-on-rewrite", "yes", "durability", "set it to no"),
        ("maxmemory-policy", "allkeys-lru", "memory", "set it to noeviction"),
        ("maxmemory", "0", "memory", "set it below the memory there is"),
    ],
)
def test_a_setting_that_may_lose_commands_is_a_warning(bent, setting, value, subject, fix):
    client, check = bent
    client.config_set(setting, value)
    assert [text for text in check().of(subject, "warning") if fix in text]


def test_a_replica_is_a_fault(bent):
    client, check = bent
    client.replicaof("127.0.0.1", 1)
    assert "point KLAVIYO_RELAY_REDIS_URL at its primary" in check().of("durability", "fault")[0]


@pytest.mark.parametrize(
    ("info", "level", "said"),
    [
        ({"loading": 1}, "fault", "is loading"),
        ({"rdb_last_bgsave_status": "err"}, "fault", "MISCONF"),
        ({"aof_last_bgrewrite_status": "err"}, "warning", "Redis's disk"),
    ],
    ids=["loading", "snapshot", "rewrite"],
)
def test_what_redis_says_of_its_files_is_passed_on(info, level, said):
    [finding] = redis_checkup._files(info)
    assert (finding.level, said in finding.text) == (level, True)


def test_a_redis_that_is_away_is_one_fault_and_no_secret_is_said(check):
    found = check(KLAVIYO_RELAY_REDIS_URL=AWAY)
    assert found.exit_code == 1
    assert "start it, or set KLAVIYO_RELAY_REDIS_URL" in found.of("redis", "fault")[0]
    assert found.of("broker", "fault")
    assert found.of("worker") == []
    assert found.of("key default", "ok")
    assert "secret" not in found.output


def test_a_broker_that_is_away_is_a_fault(check):
    found = check(KLAVIYO_RELAY_CELERY_BROKER_URL=AWAY)
    [text] = found.of("broker", "fault")
    assert "KLAVIYO_RELAY_CELERY_BROKER_URL" in text
    assert found.of("redis", "ok")
    assert "secret" not in found.output


def test_work_without_a_worker_is_a_fault(site, check):
    site.enqueue(Track(metric="M", email="ada@lovelace.dev"))
    [text] = check().of("worker", "fault")
    assert "1 commands wait; start one: klaviyo-relay worker" in text


def test_a_paused_account_is_a_warning_with_its_remedy(site, check):
    site.enqueue(Track(metric="M", email="ada@lovelace.dev"))
    Breakers(site.redis, site.settings.keys).pause("default", WHOLE_ACCOUNT, "unauthorized", 60.0)
    [text] = check().of("lane default:events", "warning")
    assert "mend the key of default or its scopes, then klaviyo-relay resume default" in text


LANE = {
    "lost": 0, "surplus": 0, "paused": False, "waits_for": "", "in_delivery": False,
    "backlog": 5, "oldest_seconds": 1.0, "dead": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, []),
        ({"oldest_seconds": 500.0}, ["fault"]),
        ({"oldest_seconds": 500.0, "in_delivery": True}, []),
        ({"oldest_seconds": 500.0, "waits_for": "outage"}, []),
        ({"lost": 1}, ["fault"]),
        ({"dead": 2}, ["warning"]),
    ],
    ids=["new", "stands still", "in delivery", "outage", "lost", "dead"],
)
def test_a_lane_is_a_finding_only_if_somebody_must_act(state, said):
    found = work_checkup._lane("default:events", {**LANE, **state})
    assert [finding.level for finding in found] == said


def test_a_missing_scope_names_the_verbs_that_will_not_work(check, sandbox):
    sandbox.set_faults(
        [
            {"endpoint": "GET /api/profiles", "status": 403},
            {"endpoint": "GET /api/segments", "status": 403},
        ]
    )
    found = check(KLAVIYO_API_KEY_SHOP="pk_shop")
    assert found.exit_code == 1
    for account, variable in (("default", "KLAVIYO_API_KEY"), ("shop", "KLAVIYO_API_KEY_SHOP")):
        [fault] = found.of(f"key {account}", "fault")
        assert fault.startswith(f"{variable} lacks the scope profiles:read")
        assert "remove_from_list" in fault
        [taken] = found.of(f"key {account}", "ok")
        assert "It lacks segments:read" in taken


@pytest.mark.parametrize(
    ("status", "level", "said"),
    [
        (401, "fault", "check KLAVIYO_API_KEY"),
        (503, "warning", "ask again"),
        (429, "warning", "429"),
    ],
)
def test_a_key_that_klaviyo_does_not_take_now_is_one_finding(check, sandbox, status, level, said):
    sandbox.set_faults([{"status": status}])
    [text] = check().of("key default")
    assert said in text
    assert check().of("key default", level)


def test_a_klaviyo_that_cannot_be_reached_is_a_fault(check):
    [text] = check(KLAVIYO_API_URL="http://127.0.0.1:1").of("key default", "fault")
    assert "look at KLAVIYO_API_URL and the network" in text


def test_lists_are_looked_for_by_their_ids(check, sandbox):
    there = sandbox.create_list("News")
    found = check("--list-id", there, "--list-id", "ABC999")
    assert found.of(f"list {there}", "ok") == ["is in the account default"]
    assert found.of("list ABC999", "fault")
    wrong = CliRunner().invoke(cli, ["check", "--list-id", "News letter"])
    assert wrong.exit_code == 2


def test_a_disk_without_room_is_a_fault(check, monkeypatch):
    monkeypatch.setattr(checkup, "_ROOM_SCANT", 10**18)
    assert "make room" in check().of("spool", "warning")[0]
    monkeypatch.setattr(checkup, "_ROOM_NONE", 10**18)
    assert "make room" in check().of("spool", "fault")[0]


def test_it_writes_nothing(site, check):
    check()
    assert list(site.redis.scan_iter()) == []
    assert not site.settings.spool_dir.exists()
