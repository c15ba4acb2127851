"""The users of deploy/redis: each can do its work, and hardly anything else."""

from __future__ import annotations

import json
import re

import pytest
import requests
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from klaviyo_relay import (
    AddToList,
    DeleteProfile,
    Identify,
    Producer,
    RemoveFromList,
    Settings,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
)
from klaviyo_relay_worker.embedded import find_server
from plain_shops import PlainShop
from ports import free_port
from scrapes import metrics_url

USERS = ("admin", "producer", "worker", "metrics", "sender")
LIST = "Y6nRLr"


class Store:
    """A server that was started as deploy/redis/start.sh starts it."""

    def __init__(self, stage, deploy):
        self.port = port = free_port()
        configuration = stage.directory / "redis.conf"
        text = (deploy / "redis.conf").read_text()
        text = re.sub(r"(?m)^dir .*$", "dir ./", text)
        configuration.write_text(re.sub(r"(?m)^port .*$", f"port {port}", text))
        self.process = stage.start(
            "sh",
            "-c",
            f'cd "{stage.directory}" && exec "$0" "$@"',
            deploy / "redis" / "start.sh",
            configuration,
            ACL_FILE=str(stage.directory / "users.acl"),
            REDIS_SERVER=str(find_server().path),
            **{f"{user.upper()}_PASSWORD": f"{user}-password" for user in USERS},
        )
        self.process.says("Ready to accept connections")
        self.admin = self.client("admin")

    def url(self, user):
        return f"redis://{user}:{user}-password@127.0.0.1:{self.port}/0"

    def client(self, user):
        return Redis.from_url(self.url(user))

    def denied(self):
        """Who was refused what since the last look."""
        entries = self.admin.acl_log()
        self.admin.acl_log_reset()
        return {(one["username"], one["reason"], one["object"]) for one in entries}


@pytest.fixture
def store(stage, deploy):
    made = Store(stage, deploy)
    yield made
    made.admin.close()


@pytest.fixture
def around(store, stage, sandbox):
    """Environments of a producer and of a worker."""
    common = {
        "KLAVIYO_RELAY_SPOOL_DIR": str(stage.directory / "spool"),
        "KLAVIYO_API_URL": sandbox.url,
        "KLAVIYO_API_KEY": "pk_deploy",
    }
    return {user: {**common, "KLAVIYO_RELAY_REDIS_URL": store.url(user)} for user in USERS}


def commands():
    who = {"email": "ada@lovelace.dev"}
    return [
        *(Track(metric="Placed Order", email=f"p{at}@shop.io") for at in range(50)),
        Track(metric="poison", email="eve@shop.io"),
        Identify(**who, title="Countess"),
        AddToList(list_id=LIST, **who),
        RemoveFromList(list_id=LIST, **who),
        Subscribe(list_id=LIST, **who),
        Unsubscribe(list_id=LIST, email="bob@shop.io"),
        Suppress(email="carol@shop.io"),
        DeleteProfile(email="dan@shop.io"),
    ]


def test_producer_worker_and_operator_are_refused_nothing(store, stage, sandbox, around, until):
    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    worker = stage.relay("worker", "--metrics-port", "0", **around["worker"])
    worker.says(" ready.")
    spool = stage.directory / "spool"
    producer = Producer(Settings(redis_url=store.url("producer"), spool_dir=spool))
    producer.track("Viewed Product", email="ada@lovelace.dev")
    created = producer.create_list("Readers")
    producer.flush(10)
    producer.enqueue_many(commands(), bulk=False, timeout=30)
    producer.enqueue_many(commands()[:20], timeout=30)
    assert producer.created_list(created, timeout=20)
    producer.close()

    def report():
        done = stage.run_relay("status", "--json", **around["worker"])
        return json.loads(done.stdout)

    def is_settled():
        lanes = report()["accounts"]["default"]["lanes"]
        waits = sum(lane["backlog"] + lane["following"] for lane in lanes.values())
        return not waits and not lanes["events"]["parked"] and lanes

    lanes = until(is_settled, 60, worker.log)
    assert lanes["events"]["dead"] == 1, lanes["events"]

    for words, code in (
        (["dead", "list"], 0),
        (["pause", "default"], 0),
        (["resume", "default"], 0),
        (["dead", "redrive", "--all"], 0),
        (["explain", created], 0),
        (["spool", "flush"], 0),
        (["status", "--audit"], 0),
        (["forget", "--email", "ada@lovelace.dev"], 0),
        # It would like to know appendfsync, and says that it may not.
        (["check"], 3),
    ):
        done = stage.run_relay(*words, **around["worker"])
        assert "NOPERM" not in done.stdout + done.stderr, words
        assert done.returncode == code, (words, done)
    assert worker.end() == 0, worker.log()
    assert report()["lost"] == 0
    assert store.denied() <= {("worker", "command", "config|get")}


@pytest.fixture
def dashboard(store, stage, around, until):
    """The URL of a dashboard with the worker's rights, over some commands."""
    producer = Producer(
        Settings(redis_url=store.url("producer"), spool_dir=stage.directory / "spool")
    )
    producer.enqueue_many(commands(), bulk=False, timeout=30)
    producer.close()
    process = stage.relay("dashboard", "--port", "0", **around["worker"])
    found = until(lambda: re.search(r"dashboard at (http://[0-9.:]+)/", process.log()))
    return found.group(1)


def test_the_dashboard_shows_and_acts_with_the_workers_rights(dashboard, store):
    browser = requests.Session()
    for path in ("/", "/live"):
        assert browser.get(dashboard + path, timeout=20).status_code == 200
    for act in ("pause", "resume"):
        page = browser.get(f"{dashboard}/confirm?what={act}&account=default", timeout=20).text
        fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)
        assert browser.post(f"{dashboard}/{act}", dict(fields), timeout=20).ok
        assert f"{act}" in browser.get(dashboard, timeout=20).text
    browser.close()
    assert store.denied() == set()


def test_a_task_sent_by_name_arrives_with_the_senders_rights(store, stage, around, until):
    worker = stage.relay("worker", **around["worker"])
    worker.says(" ready.")
    with PlainShop(store.url("sender")) as shop:
        shop.send("track", metric="Placed Order", email="ada@lovelace.dev")

    def delivered():
        done = stage.run_relay("status", "--json", **around["worker"])
        accounts = json.loads(done.stdout)["accounts"]
        return accounts and accounts["default"]["lanes"]["events"]["delivered"]

    assert until(delivered, 30, worker.log) == 1
    assert store.denied() == set()


@pytest.mark.parametrize(
    "words",
    [
        ["RPOP", "klaviyo"],
        ["LRANGE", "klaviyo", "0", "-1"],
        ["LPUSH", "celery", "{}"],
        ["HGETALL", "unacked"],
        ["GET", "kr:secret"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_sender_can_send_tasks_and_not_read_them(store, words):
    client = store.client("sender")
    with pytest.raises(NoPermissionError):
        client.execute_command(*words)
    client.close()


def test_the_exporter_reads_everything_and_can_change_nothing(store, stage, around, fetch):
    spool = stage.directory / "spool"
    producer = Producer(Settings(redis_url=store.url("producer"), spool_dir=spool))
    producer.enqueue_many(commands(), bulk=False, timeout=30)
    producer.close()
    exporter = stage.relay("metrics", "--port", "0", **around["metrics"])
    scraped = fetch(metrics_url(exporter))
    assert 'klaviyo_relay_backlog{account="default",lane="events"} 51.0' in scraped
    assert "klaviyo_relay_redis_up 1.0" in scraped
    assert store.denied() == set()
    client = store.client("metrics")
    for words in (
        ["DEL", "kr:{default:events}:stream"],
        ["HSET", "kr:{default:events}:counts", "accepted", "0"],
        ["EVAL", "redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)", "1", "kr:{default:events}:stream"],
    ):
        with pytest.raises(RedisError, match=r"(?i)no permission|can't run|acl"):
            client.execute_command(*words)
    client.close()


@pytest.mark.parametrize(
    "words",
    [
        ["XRANGE", "kr:{default:events}:stream", "-", "+"],
        ["XREAD", "STREAMS", "kr:{default:events}:stream", "0"],
        ["DEL", "kr:{default:events}:stream"],
        ["HGETALL", "kr:{default:events}:dead"],
        ["HGET", "kr:{default:events}:dead", "x"],
        ["HGET", "kr:{default:events}:parked", "x"],
        ["GET", "kr:secret"],
        ["HGETALL", "kr:forgotten:default"],
        ["SET", "kr:created:default:x", "Y6nRLr"],
        ["EVAL", "return redis.call('HGET', KEYS[1], 'x')", "1", "kr:{default:events}:dead"],
        ["EVAL", "return redis.call('HGET', 'kr:{default:events}:dead', 'x')", "0"],
        ["EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", "1", "kr:{d:events}:stream"],
        ["LPUSH", "klaviyo", "{}"],
        ["SUBSCRIBE", "kr:doorbell"],
        ["KEYS", "*"],
        ["SCAN", "0"],
        ["FLUSHALL"],
        ["CONFIG", "GET", "*"],
        ["ACL", "LIST"],
        ["MONITOR"],
    ],
    ids=lambda words: " ".join(words[:2])[:40],
)
def test_a_producer_can_put_in_and_not_read_nor_delete(store, words):
    client = store.client("producer")
    with pytest.raises(RedisError, match=r"(?i)no permission|can't access|can't run|acl"):
        client.execute_command(*words)
    client.close()


@pytest.mark.parametrize(
    "words",
    [
        ["FLUSHALL"],
        ["CONFIG", "SET", "maxmemory", "1"],
        ["KEYS", "*"],
        ["ACL", "LIST"],
        ["SHUTDOWN"],
        ["REPLICAOF", "127.0.0.1", "1"],
        ["GET", "somebody-elses-key"],
        ["CLIENT", "KILL", "TYPE", "normal"],
    ],
    ids=lambda words: words[0],
)
def test_a_worker_can_do_nothing_that_administers_or_is_anothers(store, words):
    client = store.client("worker")
    with pytest.raises(NoPermissionError):
        client.execute_command(*words)
    client.close()


def test_without_a_password_nobody_but_the_probe_gets_in(store):
    assert store.client("probe").ping()
    for url in ("redis://127.0.0.1:{}", "redis://producer:wrong@127.0.0.1:{}"):
        client = Redis.from_url(url.format(store.port))
        with pytest.raises(AuthenticationError):
            client.ping()
        client.close()


def test_the_server_knows_no_password_but_by_its_hash(store, stage):
    text = (stage.directory / "users.acl").read_text()
    assert "-password" not in text
    assert len(re.findall(r"#[0-9a-f]{64}$", text, re.MULTILINE)) == len(USERS)
    assert (stage.directory / "users.acl").stat().st_mode & 0o077 == 0
