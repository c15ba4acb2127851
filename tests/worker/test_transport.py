"""The mended transport: popping, acknowledging and binding in a full Redis; the versions read."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue
from packaging.requirements import Requirement
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis

REPOSITORY = Path(__file__).parents[2]
QUEUE = Queue("verbs", Exchange("verbs", type="direct"), routing_key="verbs")


@pytest.fixture
def server():
    with PrivateRedis() as started:
        yield started


@pytest.fixture
def redis(server):
    client = connect(server.url)
    yield client
    client.close()


@pytest.fixture
def broker(server):
    with Connection(server.url, transport="klaviyo_relay_worker.transport:Transport") as opened:
        yield opened


@pytest.fixture
def message(broker, redis):
    """Popped when Redis was full already."""
    with broker.channel() as channel:
        QUEUE(channel).declare()
        Producer(channel, exchange=QUEUE.exchange).publish({"n": 1}, routing_key="verbs")
    fill(redis)
    received = []
    with Consumer(broker, [QUEUE], callbacks=[lambda _body, found: received.append(found)]):
        broker.drain_events(timeout=5)
        yield received[0]


def fill(redis):
    redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        redis.set("probe", b"1")


def places(redis):
    return redis.llen("verbs"), redis.hlen("unacked"), redis.zcard("unacked_index")


def test_what_is_popped_in_a_full_redis_is_kept_until_acknowledged(redis, message):
    assert places(redis) == (0, 1, 1)
    message.ack()
    assert places(redis) == (0, 0, 0)


def test_what_is_refused_in_a_full_redis_goes_back_to_its_queue(redis, message):
    message.requeue()
    assert places(redis) == (1, 0, 0)


def test_a_message_whose_queue_is_gone_stays_where_it_is(redis, message):
    redis.delete("_kombu.binding.verbs")
    message.channel.queue_delete("verbs")
    message.channel._lookup = lambda *_arguments, **_keywords: []
    message.requeue()
    assert places(redis)[1:] == (1, 1)


@pytest.mark.parametrize("kind", ["direct", "fanout"])
def test_queues_are_bound_and_measured_in_a_full_redis(redis, broker, kind):
    fill(redis)
    with broker.channel() as channel:
        queue = Queue("new", Exchange("new", type=kind), routing_key="new")(channel)
        assert queue.declare() == "new"
        assert redis.scard("_kombu.binding.new") == 1
        assert channel._has_queue("new") is False


def test_overdue_messages_wait_while_redis_is_full(redis, message):
    message.channel.qos.restore_visible()
    assert places(redis) == (0, 1, 1)


def test_an_acknowledgement_over_a_closed_connection_is_a_connection_error(broker):
    channel = broker.channel()
    channel.close()
    channel.connection = None
    with pytest.raises(RedisConnectionError, match="closed meanwhile"), channel.conn_or_acquire():
        raise AssertionError


@pytest.mark.parametrize("name", ["celery", "kombu"])
def test_the_installed_version_is_one_that_the_transport_was_read_against(name):
    # Before this is widened: read kombu/transport/redis.py again, and run test_redis_restarts.py
    # and test_full_redis.py of tests/e2e with KLAVIYO_RELAY_LONG=1.
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    requirements = map(Requirement, project["optional-dependencies"]["worker"])
    [wanted] = [one for one in requirements if one.name == name]
    assert str(wanted.specifier) == "<5.8,>=5.7"
    assert wanted.specifier.contains(version(name))
