"""The ACL users of the security document can do all that they must, and nothing else."""

from __future__ import annotations

import re

import pytest
from redis.exceptions import NoPermissionError

from klaviyo_relay import AddToList, DeleteProfile, Identify, Producer, Settings, Subscribe, Track
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from tree import security_document

RULES = re.compile(r"^ *user (\S+) on >\S+ (.+)$", re.MULTILINE)


def users():
    """The users with their rules, as the document has them."""
    return dict(RULES.findall(security_document()))


@pytest.fixture
def url_of():
    """A server of its own with the users; gives the URL of each."""
    with PrivateRedis() as server:
        client = connect(server.url)
        for name, rules in users().items():
            client.execute_command("ACL", "SETUSER", name, "on", ">secret", *rules.split())
        client.close()
        address = server.url.partition("@")[2]
        yield lambda name: f"redis://{name}:secret@{address}"


def test_there_is_a_user_for_each_side():
    assert set(users()) == {"relay-producer", "relay-worker"}


def test_all_is_delivered_by_users_that_may_do_little(url_of, site_of, sandbox, until, tmp_path):
    list_id = sandbox.create_list("News")
    site = site_of(url_of("relay-worker"))
    sandbox.set_faults([{"action": "refuse", "match": "poison"}, {"status": 503, "times": 1}])
    worker = site.worker("--log-level", "debug")
    producer = Producer(
        Settings(redis_url=url_of("relay-producer"), spool_dir=tmp_path / "producer")
    )
    who = {"email": "ada@lovelace.dev"}
    for command in (
        Track(metric="M", **who),
        Track(metric="M", email="poison@lovelace.dev"),
        Identify(first_name="Ada", **who),
        AddToList(list_id=list_id, **who),
        Subscribe(list_id=list_id, **who),
        DeleteProfile(email="nobody@lovelace.dev"),
    ):
        producer.enqueue(command)
    producer.enqueue_many([Track(metric="M", **who)] * 50, timeout=30)
    assert producer.close(10).left == 0
    sandbox.wait(events=51, members={list_id: 1}, timeout=60)
    [letter] = until(site.dead)
    for arguments in (
        ("status", "--audit"), ("dead", "list"), ("dead", "redrive", letter.id),
        ("explain", letter.id), ("pause", "default"), ("resume", "default"),
    ):  # fmt: skip
        done = site.run(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
    assert "appendfsync cannot be read" in site.run("check").stdout
    assert "NOPERM" not in worker.log()
    assert "no permissions" not in worker.log()


@pytest.mark.parametrize("name", ["relay-producer", "relay-worker"])
@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("GET", "others"), ("FLUSHDB",),
        ("SHUTDOWN",), ("ACL", "LIST"), ("MONITOR",), ("SAVE",), ("REPLICAOF", "NO", "ONE"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_nothing_else_is_allowed(url_of, name, command):
    client = connect(url_of(name))
    with pytest.raises(NoPermissionError):
        client.execute_command(*command)
    client.close()
