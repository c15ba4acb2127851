"""The checkup of spool and Redis: each fault with its fix, and no secret in what is said."""

from __future__ import annotations

import os
import time

import pytest

from klaviyo_relay import Settings
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker import checkup
from klaviyo_relay_worker.checkup import check_redis, check_spool
from klaviyo_relay_worker.embedded import PrivateRedis


def said(findings):
    return [(one.level, one.subject, one.text) for one in findings]


@pytest.fixture
def spool(tmp_path, monkeypatch):
    """The checkup of a spool; the disk of the tests may be whatever it is."""
    monkeypatch.setattr(checkup, "why_unsuitable", lambda _: None)
    monkeypatch.setattr(checkup, "_ROOM_SCANT", 0)
    directory = tmp_path / "spool"
    return directory, lambda: said(check_spool(Settings(spool_dir=directory)))


def test_a_spool_that_is_not_there_yet_is_well_and_is_not_made(spool):
    directory, check = spool
    assert check() == [("ok", "spool", f"{directory} can be written")]
    assert not directory.exists()


def test_a_spool_that_others_can_read_is_a_warning(spool):
    directory, check = spool
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    [(level, _, text)] = check()
    assert (level, "chmod 700" in text) == ("warning", True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_spool_that_cannot_be_written_is_a_fault(spool):
    directory, check = spool
    directory.mkdir(mode=0o500)
    [(level, _, text)] = check()
    assert (level, "KLAVIYO_RELAY_SPOOL_DIR or its permissions" in text) == ("fault", True)


@pytest.mark.parametrize(("none", "level"), [(0, "warning"), (10**18, "fault")])
def test_little_room_is_a_warning_and_none_is_a_fault(spool, monkeypatch, none, level):
    monkeypatch.setattr(checkup, "_ROOM_SCANT", 10**18)
    monkeypatch.setattr(checkup, "_ROOM_NONE", none)
    _, (of, _, text) = spool[1]()
    assert (of, "make room" in text) == (level, True)


@pytest.fixture
def bent(tmp_path):
    """A server that a test may bend, and the checkup of it."""
    with PrivateRedis(maxmemory=200_000_000) as server:
        client = connect(server.url)
        settings = Settings(redis_url=server.url, spool_dir=tmp_path)
        yield client, lambda: said(check_redis(client, settings))
        client.close()


def test_our_own_server_is_well(bent):
    _, check = bent
    found = check()
    assert {level for level, _, _ in found} == {"ok"}
    assert [subject for _, subject, _ in found] == ["redis", "room", "durability"]


@pytest.mark.parametrize(
    ("setting", "value", "subject", "fix"),
    [
        ("appendonly", "no", "durability", "set appendonly yes"),
        ("maxmemory-policy", "allkeys-lru", "memory", "set it to noeviction"),
        ("maxmemory", "0", "memory", "set it below the memory there is"),
    ],
)
def test_a_setting_that_may_lose_commands_is_a_warning(bent, setting, value, subject, fix):
    client, check = bent
    client.config_set(setting, value)
    [text] = [text for level, of, text in check() if (level, of) == ("warning", subject)]
    assert fix in text


def test_a_replica_is_a_fault(bent):
    client, check = bent
    client.replicaof("127.0.0.1", 1)
    assert ("fault", "durability") in {(level, subject) for level, subject, _ in check()}


def test_a_clock_that_differs_is_a_warning(bent, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    [(level, text)] = [(level, text) for level, subject, text in bent[1]() if subject == "clock"]
    assert (level, "run NTP on both" in text) == ("warning", True)


def test_a_redis_that_is_away_is_one_fault_and_its_password_is_not_said():
    settings = Settings(redis_url="redis://:kept.secret@127.0.0.1:1/0")
    [(level, subject, text)] = said(check_redis(connect(settings.redis_url), settings))
    assert (level, subject, "set KLAVIYO_RELAY_REDIS_URL" in text) == ("fault", "redis", True)
    assert "secret" not in text
