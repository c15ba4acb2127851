"""The worker's settings: every fault at once, a key per account, and no secret in a repr."""

from __future__ import annotations

import pytest

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.settings import WorkerSettings

KEY = "pk_0123456789abcdef"


def faults_of(**environ):
    with pytest.raises(ConfigurationError) as caught:
        WorkerSettings.from_env(environ)
    return caught.value.faults


def test_an_empty_environment_means_the_defaults():
    assert WorkerSettings.from_env({}) == WorkerSettings()
    assert (
        WorkerSettings.from_env({"KLAVIYO_API_URL": "", "KLAVIYO_API_KEY": ""}) == WorkerSettings()
    )


def test_everything_can_be_set():
    settings = WorkerSettings.from_env(
        {
            "KLAVIYO_RELAY_REDIS_URL": "rediss://r:1/2",
            "KLAVIYO_RELAY_CELERY_BROKER_URL": "amqp://b//",
            "KLAVIYO_RELAY_NAMESPACE": "staging",
            "KLAVIYO_API_KEY": KEY,
            "KLAVIYO_API_URL": "https://k.example",
            "KLAVIYO_API_REVISION": "2026-10-15",
            "KLAVIYO_RELAY_CONCURRENCY": "3",
            "KLAVIYO_RELAY_REQUEST_SECONDS": "2.5",
            "KLAVIYO_RELAY_LANE_MAX_BYTES": "1000",
        }
    )
    assert settings == WorkerSettings(
        redis_url="rediss://r:1/2",
        celery_broker_url="amqp://b//",
        namespace="staging",
        api_keys={"default": KEY},
        api_url="https://k.example",
        api_revision="2026-10-15",
        concurrency=3,
        request_seconds=2.5,
        lane_max_bytes=1000,
    )


def test_the_broker_is_the_redis_unless_another_is_named():
    assert WorkerSettings(redis_url="redis://r").broker_url == "redis://r"
    assert WorkerSettings(celery_broker_url="amqp://b").broker_url == "amqp://b"


def test_each_account_has_its_key():
    environ = {"KLAVIYO_API_KEY": KEY, "KLAVIYO_API_KEY_EU_SHOP": "pk_eu", "KLAVIYO_API_KEYS": "x"}
    assert WorkerSettings.from_env(environ).api_keys == {"default": KEY, "eu_shop": "pk_eu"}


def test_all_faults_are_reported_at_once_each_with_its_variable():
    faults = faults_of(
        KLAVIYO_RELAY_REDIS_URL="http://r",
        KLAVIYO_RELAY_CELERY_BROKER_URL="nothing",
        KLAVIYO_RELAY_NAMESPACE="a b",
        KLAVIYO_API_KEY="pk with spaces ",
        KLAVIYO_API_URL="http://a.klaviyo.com",
        KLAVIYO_API_REVISION="latest",
        KLAVIYO_RELAY_CONCURRENCY="many",
        KLAVIYO_RELAY_REQUEST_SECONDS="60",
        KLAVIYO_RELAY_LANE_MAX_BYTES="0",
    )
    assert len(faults) == 9
    told = " ".join(faults)
    for name in (
        "KLAVIYO_RELAY_REDIS_URL", "KLAVIYO_RELAY_CELERY_BROKER_URL", "KLAVIYO_RELAY_NAMESPACE",
        "KLAVIYO_API_KEY", "KLAVIYO_API_URL", "KLAVIYO_API_REVISION", "KLAVIYO_RELAY_CONCURRENCY",
        "KLAVIYO_RELAY_REQUEST_SECONDS", "KLAVIYO_RELAY_LANE_MAX_BYTES",
    ):  # fmt: skip
        assert name in told


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1", "https://a.klaviyo.com"]
)
def test_plain_http_is_for_loopback_only(url):
    assert WorkerSettings.from_env({"KLAVIYO_API_URL": url}).api_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://a.klaviyo.com", "http://127.0.0.1.evil.example", "http://localhost@evil.example",
        "http://10.0.0.1", "ftp://127.0.0.1", "a.klaviyo.com", "https://",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url):
    assert len(faults_of(KLAVIYO_API_URL=url)) == 1


@pytest.mark.parametrize("seconds", ["0.4", "8.6", "-1", "nan", "inf", "x"])
def test_a_request_must_end_before_the_lease(seconds):
    assert any("REQUEST_SECONDS" in f for f in faults_of(KLAVIYO_RELAY_REQUEST_SECONDS=seconds))


@pytest.mark.parametrize("key", ["pk a", " pk", "pk\n", "pk_é", "pk\x00"], ids=ascii)
def test_a_key_that_cannot_be_one_is_refused_without_being_shown(key):
    [fault] = faults_of(KLAVIYO_API_KEY_EU=key)
    assert "KLAVIYO_API_KEY_EU" in fault
    assert key not in fault


def test_no_secret_is_in_the_repr():
    settings = WorkerSettings(
        redis_url="redis://:hunter2@r:1/0",
        celery_broker_url="amqp://u:hunter2@b",
        api_keys={"eu": KEY},
    )
    assert "hunter2" not in repr(settings) + str(settings)
    assert KEY not in repr(settings) + str(settings)
    assert "eu" in repr(settings)
