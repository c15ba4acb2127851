"""The broker: what Celery is told of each kind of address, TLS included."""

from __future__ import annotations

import pytest

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.broker import broker_of
from klaviyo_relay_worker.settings import WorkerSettings

REDIS = "klaviyo_relay_worker.transport:Transport"


def broker(url, **more):
    return broker_of(WorkerSettings(celery_broker_url=url, **more))


def test_celery_shares_the_redis_of_the_lanes_unless_it_is_told_another():
    lanes = WorkerSettings(redis_url="redis://one:6379/3")
    assert broker_of(lanes).url == "redis://one:6379/3"
    assert broker("redis://other:6380/1", redis_url="redis://one").url == "redis://other:6380/1"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("redis://one", "redis://one/0"),
        ("redis://one:6379?db=2", "redis://one:6379/2"),
        ("redis://:p%40ss@one/1?client_name=x", "redis://:p%40ss@one/1"),
        ("redis://one?username=u&password=p%2F", "redis://u:p%2F@one/0"),
        ("unix:///run/redis.sock?db=4", "socket:///run/redis.sock?virtual_host=4"),
    ],
)
def test_an_address_is_told_in_kombus_words(given, told):
    assert broker(given).url == told


@pytest.mark.parametrize("url", ["redis://one", "redis+sentinel://a:1,b:2/main/0"])
def test_every_call_to_a_redis_ends(url):
    options = broker(url).options
    assert 0 < options["socket_connect_timeout"] <= 2
    assert 0 < options["socket_timeout"] <= 5
    assert options["socket_keepalive"]


def test_kombus_own_transport_is_never_used_for_redis():
    assert broker("redis://one").transport == REDIS
    assert broker("unix:///run/redis.sock").transport.endswith(":SocketTransport")
    assert broker("redis+sentinel://a:1/main/0").transport.endswith(":SentinelTransport")


@pytest.mark.parametrize(("query", "required"), [("", "required"), ("?ssl_cert_reqs=none", "none")])
def test_a_certificate_is_verified_unless_the_address_says_otherwise(query, required):
    assert broker("redis://one").tls is None
    assert broker(f"rediss://one/0{query}").tls["ssl_cert_reqs"] == required
    assert broker("rediss://one/0?ssl_ca_certs=/ca.pem").tls["ssl_ca_certs"] == "/ca.pem"
    assert "ssl" not in broker(f"rediss://one/0{query}").url.partition("://")[2]


def test_sentinels_are_asked_within_the_time_of_one_connection():
    found = broker("rediss+sentinel://u:p@a:26379,b:26380/main/5")
    assert found.url == "sentinel://u:p@a:26379/5;sentinel://u:p@b:26380/5"
    assert found.options["master_name"] == "main"
    asking = found.options["sentinel_kwargs"]
    assert asking["socket_connect_timeout"] * 2 <= found.options["socket_connect_timeout"]
    assert asking["ssl"] is True
    assert asking["ssl_cert_reqs"] == "required"


def test_a_sentinel_at_an_ipv6_address_keeps_its_brackets():
    found = broker("redis+sentinel://[::1]:26379,b:26380/main/0")
    assert found.url == "sentinel://[::1]:26379/0;sentinel://b:26380/0"


def test_rabbitmq_is_left_to_celery():
    found = broker("amqp://guest@localhost//")
    assert (found.url, found.transport, found.options) == ("amqp://guest@localhost//", None, {})


def test_a_cluster_is_no_broker():
    with pytest.raises(ConfigurationError, match="KLAVIYO_RELAY_CELERY_BROKER_URL"):
        broker("redis+cluster://a:7000,b:7001")
