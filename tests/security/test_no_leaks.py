"""Nothing private leaks: everything is run with secrets, then looked for wherever people look."""

from __future__ import annotations

import base64
import json
import logging
import stat
import traceback
from pathlib import Path

import msgspec
import pytest

from klaviyo_relay import (
    AddToList,
    Identify,
    InvalidCommandError,
    Producer,
    Settings,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
)
from klaviyo_relay.envelope import Envelope, decode, encode, new_id, receive
from klaviyo_relay.keys import split
from klaviyo_relay_worker import dead_letters
from klaviyo_relay_worker.app import create_app
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.letter_filter import LetterFilter
from klaviyo_relay_worker.outcome import Failure
from klaviyo_relay_worker.settings import WorkerSettings
from plain_shops import PlainShop

PAYLOADS = ("stream", "parked", "dead", "following")


class UnfriendlyShop(PlainShop):
    """It sends what it likes, not only tasks."""

    def publish(self, body, **how):
        with self.app.connection_for_write() as connection, connection.Producer() as producer:
            producer.publish(body, routing_key=self.QUEUE, exchange="", **how)


@pytest.fixture
def shop(guarded):
    with UnfriendlyShop(guarded.settings.redis_url) as made:
        yield made


def commands_of(secrets, list_id):
    who, private = secrets.person, {"note": secrets.note}
    return [
        Track(metric="Placed Order", properties=private, **who),
        Identify(first_name=secrets.name, properties=private, external_id=secrets.external_id),
        AddToList(list_id=list_id, **who),
        Subscribe(list_id=list_id, channels=("email", "sms"), **who),
        Unsubscribe(list_id=list_id, email=f"other.{secrets.email}"),
        Suppress(email=f"third.{secrets.email}"),
        Track(metric="Placed Order", properties=private, email=secrets.poisoned),
        Identify(first_name=secrets.name, email=secrets.poisoned),
    ]


def knock_at_the_door(shop, secrets):
    """All that may come in by the Celery door, good and bad."""
    who = {"email": secrets.email}
    shop.send("track", metric="M", properties={"note": secrets.note}, **who)
    shop.send("track", metric=secrets.note, email="@", properties=secrets.name)
    shop.send("identify", secrets.email, colour=secrets.note)
    shop.send("trak", metric="M", **who)
    shop.publish({"email": secrets.email})
    shop.publish(f"not json {secrets.email}", content_type="application/json")
    shop.publish(secrets.email.encode(), content_type="application/x-python-serialize")
    message = [[secrets.email], {"note": secrets.note}, {}]
    shop.publish(message, headers={"id": "1", "task": "klaviyo_relay.track", "eta": secrets.note})


def run_everything(site, sandbox, shop, secrets, until):
    """Deliveries, refusals, an outage, a wrong key, lost answers, broken envelopes, the door."""
    list_id = sandbox.create_list("News")
    worker = site.worker("--log-level", "debug", "--concurrency", "4")
    sandbox.set_faults(
        [
            {"status": 503, "times": 2},
            {"action": "reset", "times": 1},
            {"action": "lose_answer", "times": 1, "endpoint": "POST /api/event-bulk-create-jobs"},
            {"status": 429, "retry_after": 1, "times": 1},
            {"action": "refuse", "match": "poison", "pointer": False},
        ]
    )
    for bulk in (False, True):
        site.enqueue(*commands_of(secrets, list_id), bulk=bulk)
    knock_at_the_door(shop, secrets)
    lane = Lane(site.redis, site.settings.keys, "default", "events")
    site.redis.xadd(lane.keys.stream, {"e": f'{{"email": "{secrets.email}"'})
    site.redis.hincrby(lane.keys.counts, "accepted", 1)

    def has_settled():
        lanes = site.report()["accounts"].get("default", {"lanes": {}})["lanes"]
        left = sum(one["backlog"] + one["following"] for one in lanes.values())
        return len(lanes) >= 4 and not left and len(site.dead()) >= 7

    until(has_settled, 90.0, lambda: (site.report(), worker.log()))
    sandbox.set_faults([{"status": 401, "times": 1}])
    site.enqueue(*commands_of(secrets, list_id)[:2])
    worker.says("Klaviyo answers 401")
    return worker


def command_lines(pid):
    """What ps shows of a process and its threads."""
    process = Path(f"/proc/{pid}")
    names = [path.read_text() for path in process.glob("task/*/comm")]
    return [(process / "cmdline").read_text(), *names]


def values_beside_the_payloads(redis, lanes, keys):
    """Everything in Redis that is no payload: key -> its content as text."""
    payloads = {getattr(keys.lane(*split(name)), part) for name in lanes for part in PAYLOADS}
    found = {}
    for raw in redis.scan_iter():
        key = raw.decode()
        if key in payloads:
            continue
        kind = redis.type(raw).decode()
        read = {
            "string": redis.get,
            "hash": redis.hgetall,
            "set": redis.smembers,
            "list": lambda name: redis.lrange(name, 0, -1),
            "zset": lambda name: redis.zrange(name, 0, -1),
            "stream": redis.xrange,
        }[kind]
        found[key] = repr(read(raw))
    return found


def test_secrets_are_nowhere_but_in_payloads(guarded, sandbox, shop, secrets, until):
    site = guarded
    worker = run_everything(site, sandbox, shop, secrets, until)

    assert not secrets.found_in("\n".join(command_lines(worker.pid)))
    names = [key.decode() for key in site.redis.scan_iter()]
    assert not secrets.found_in("\n".join(names))
    lanes = site.report()["accounts"]["default"]["lanes"]
    inside = values_beside_the_payloads(
        site.redis, [f"default:{name}" for name in lanes], site.settings.keys
    )
    assert len(inside) > 10
    leaks = {key: secrets.found_in(text) for key, text in inside.items()}
    assert not {key: found for key, found in leaks.items() if found}

    dead = site.dead()[0].id
    for arguments in (
        ("status",), ("status", "--json", "--audit"), ("check",), ("check", "--json"),
        ("dead", "list"), ("dead", "list", "--json"), ("dead", "export", "-", "--format", "csv"),
        ("dead", "redrive", "--all", "--dry-run"), ("explain", dead), ("explain", dead, "--json"),
        ("spool", "status"), ("pause", "default"), ("resume", "default"),
    ):  # fmt: skip
        done = site.run(*arguments)
        assert "Traceback" not in done.stderr
        assert not secrets.found_in(done.stdout + done.stderr), arguments

    worker.end()
    log = worker.log()
    assert '"level":"debug"' in log.replace(" ", "")
    assert log.count("it is thrown away") == 5
    assert "Received unregistered task of type 'klaviyo_relay.trak'; it is thrown away" in log
    assert [line for line in log.splitlines() if secrets.found_in(line)] == []


def test_a_worker_that_cannot_reach_redis_does_not_say_its_password(guarded, secrets):
    password = secrets.redis_password
    url = f"redis://:{password}@127.0.0.1:1/0"
    worker = guarded.worker("--log-level", "debug", is_ready=False, KLAVIYO_RELAY_REDIS_URL=url)
    worker.says("waiting for Redis")
    worker.kill()
    assert password not in worker.log()
    for arguments in (("status",), ("check",), ("dead", "list"), ("explain", "nobody")):
        done = guarded.run(*arguments, KLAVIYO_RELAY_REDIS_URL=url)
        assert done.returncode != 0
        assert password not in done.stdout + done.stderr


# Celery 5.7 wants task_routes instead; the tasks still name their queue themselves.
@pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")
def test_our_celery_message_names_a_lane_and_nothing_else(redis, redis_url, secrets):
    settings = WorkerSettings(redis_url=redis_url, api_keys={"default": secrets.api_key})
    app = create_app(settings)
    app.tasks["klaviyo_relay.deliver"].apply_async(("default", "events"))
    [raw] = redis.lrange("klaviyo.deliver", 0, -1)
    message = json.loads(raw)
    body = json.loads(base64.b64decode(message["body"]))
    assert body[:2] == [["default", "events"], {}]
    assert not secrets.found_in(raw.decode())
    assert message["headers"]["argsrepr"] == "('default', 'events')"
    app.close()


def things_that_know_secrets(secrets, server_url):
    track = Track(metric="M", properties={"note": secrets.note}, **secrets.person)
    envelope = Envelope(id=new_id(), account="default", at=1, command=track)
    received = receive(encode(envelope))
    failure = Failure(status=400, code="invalid")
    letter = dead_letters.letter("default:events", received, failure, now=1.0)
    settings = Settings(redis_url=server_url)
    worker = WorkerSettings(redis_url=server_url, api_keys={"default": secrets.api_key})
    return [
        track,
        Subscribe(list_name=secrets.note, **secrets.person),
        envelope,
        received,
        decode(encode(envelope)),
        msgspec.json.decode(letter, type=dead_letters.DeadLetter),
        settings,
        worker,
        LetterFilter(email=secrets.email, profile=secrets.external_id),
        KlaviyoClient("https://a.klaviyo.com", secrets.api_key, "2026-07-15", 7.0),
    ]


def test_no_repr_has_a_secret(private_redis, secrets):
    for thing in things_that_know_secrets(secrets, private_redis.url):
        shown = f"{thing!r} {thing!s} {[thing]}"
        assert not secrets.found_in(shown), type(thing)


@pytest.mark.parametrize(
    "wrong",
    [
        {"email": "not.kiwi7q"},
        {"phone_number": "kiwi7q"},
        {"email": "ada.kiwi7q@lovelace.dev", "properties": {"a": {1: "kiwi7q"}}},
        {"email": "ada.kiwi7q@lovelace.dev", "properties": {"a": object()}},
        {"email": "ada.kiwi7q@lovelace.dev", "properties": {"a": "kiwi7q\ud800"}},
        {"email": "ada.kiwi7q@lovelace.dev", "properties": {"a": "kiwi7q" * 100_000}},
        {"email": "ada.kiwi7q@lovelace.dev", "value": "kiwi7q"},
        {"email": "ada.kiwi7q@lovelace.dev", "time": "kiwi7q"},
    ],
    ids=lambda wrong: str(wrong)[:40],
)
def test_a_refused_value_is_not_in_the_traceback(secrets, wrong):
    with pytest.raises(InvalidCommandError) as caught:
        Track(metric="M", **wrong)
    told = "".join(traceback.format_exception(caught.value))
    # The lines of this file are in it, and the values are not: they stand in its parameters.
    assert not secrets.found_in(told)


def test_a_broken_message_is_not_in_the_error(secrets):
    for message in (f'{{"email": "{secrets.email}"', f'{{"id": "{secrets.email}", "v": "x"}}'):
        with pytest.raises(msgspec.DecodeError) as caught:
            receive(message.encode())
        assert not secrets.found_in("".join(traceback.format_exception(caught.value)))


def test_the_producers_log_has_no_secret(private_redis, secrets, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    refused = private_redis.url.replace(secrets.redis_password, f"{secrets.redis_password}x")
    for url in (private_redis.url, refused, f"redis://:{secrets.redis_password}@127.0.0.1:1/0"):
        producer = Producer(Settings(redis_url=url, spool_dir=tmp_path / "spool"))
        producer.track("M", properties={"note": secrets.note}, **secrets.person)
        with pytest.raises(InvalidCommandError):
            producer.identify(email=secrets.email, first_name=7)
        producer.flush(2.0)
        producer.close(1.0)
    assert caplog.records
    text = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert not secrets.found_in(text)


def test_spool_files_are_their_owners_alone(private_redis, secrets, tmp_path):
    directory = tmp_path / "spool"
    producer = Producer(Settings(redis_url="redis://127.0.0.1:1/0", spool_dir=directory))
    producer.track("M", **secrets.person)
    producer.close(0)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert not secrets.found_in(" ".join(path.name for path in files))
