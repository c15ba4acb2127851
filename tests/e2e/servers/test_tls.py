"""Lanes and Celery's broker behind TLS: certificates are verified on both sides."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from redis.exceptions import RedisError

from klaviyo_relay import Producer
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.app import create_app
from klaviyo_relay_worker.settings import WorkerSettings

AUTH = ":geheim@127.0.0.1"


@pytest.fixture
def server(encrypted):
    return encrypted.node()


def url_of(server, options, form="rediss", path="/0"):
    return f"{form}://{AUTH}:{server.port}{path}?{urlencode(options)}"


def test_commands_and_wake_up_calls_go_through_tls(encrypted, server, site_of, sandbox, tracks):
    site = site_of(url_of(server, encrypted.options()))
    worker = site.worker()
    producer = Producer(site.settings)
    producer.track("Placed Order", email="ada@lovelace.dev")
    sandbox.wait(events=1, timeout=60)
    site.enqueue(*tracks(20))
    site.wait_for_rest()
    producer.close()
    # Celery's connections are among them.
    assert server.client().exists("_kombu.binding.klaviyo")
    assert "Traceback" not in worker.log()
    assert worker.end() == 0


def test_a_server_with_a_certificate_of_a_stranger_is_refused_and_check_says_why(
    encrypted, server, site_of
):
    site = site_of(url_of(server, encrypted.options(encrypted.stranger.ca)))
    said = site.run("check")
    assert said.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in said.stdout
    assert "geheim" not in said.stdout


def test_celery_refuses_a_stranger_too(encrypted, server):
    url = url_of(server, encrypted.options(encrypted.stranger.ca))
    app = create_app(WorkerSettings(redis_url=url, api_keys={"default": "pk_test"}))
    with app.connection() as connection, pytest.raises(Exception, match="CERTIFICATE_VERIFY"):
        connection.default_channel.client.ping()


def test_a_certificate_that_no_authority_of_this_machine_has_signed_is_refused(server):
    with (
        connect(f"rediss://{AUTH}:{server.port}/0") as client,
        pytest.raises(RedisError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.ping()


def test_a_certificate_for_another_host_is_refused(encrypted, server):
    url = url_of(server, encrypted.options()).replace("127.0.0.1", "localhost")
    with connect(url) as client, pytest.raises(RedisError, match="Hostname mismatch"):
        client.ping()


def test_without_a_certificate_of_its_own_a_client_is_refused(encrypted, server):
    options = {"ssl_ca_certs": encrypted.options()["ssl_ca_certs"]}
    with connect(url_of(server, options)) as client, pytest.raises(RedisError):
        client.ping()


def test_a_cluster_speaks_tls(encrypted, site_of, sandbox, private_redis):
    node = encrypted.node("cluster-enabled yes", "tls-cluster yes", "cluster-port 0")
    node.ask("CLUSTER ADDSLOTSRANGE", 0, 16_383)
    site = site_of(url_of(node, encrypted.options(), "rediss+cluster", ""))
    worker = site.worker(KLAVIYO_RELAY_CELERY_BROKER_URL=private_redis.url)
    producer = Producer(site.settings)
    producer.track("Placed Order", email="ada@lovelace.dev")
    sandbox.wait(events=1, timeout=60)
    producer.close()
    assert worker.end() == 0


def test_sentinels_and_their_primary_speak_tls(encrypted, site_of, sandbox):
    primary = encrypted.node()
    sentinel = encrypted.node(
        f"sentinel monitor lanes 127.0.0.1 {primary.port} 1",
        "sentinel auth-pass lanes geheim",
        mode="--sentinel",
    )
    site = site_of(url_of(sentinel, encrypted.options(), "rediss+sentinel", "/lanes/0"))
    worker = site.worker()
    producer = Producer(site.settings)
    producer.track("Placed Order", email="ada@lovelace.dev")
    sandbox.wait(events=1, timeout=60)
    producer.close()
    assert primary.client().exists("_kombu.binding.klaviyo")
    assert worker.end() == 0
