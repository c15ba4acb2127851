"""The producer itself; its verbs are in test_verbs, its spool is in test_spooling."""

import asyncio
import math
import threading
from enum import Enum

import pytest

from klaviyo_relay import Identify, InvalidCommandError, Producer, Settings, Track
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.redis_clients import connect

ADA = "ada@lovelace.dev"


def test_settings_from_the_environment_are_read_at_the_first_command(
    stored_ids, monkeypatch, tmp_path
):
    producer = Producer()
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", "http://wrong")

    with pytest.raises(ConfigurationError):
        producer.track("M", email=ADA)

    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("KLAVIYO_RELAY_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("KLAVIYO_RELAY_EXIT_SECONDS", "0")
    identity = producer.track("M", email=ADA)
    assert stored_ids(producer.settings) == [identity]
    producer.close()


class Shop(str, Enum):  # noqa: UP042 - as it was made before StrEnum
    OURS = "default"
    THEIRS = "shop_eu"


@pytest.mark.parametrize("shop", Shop)
def test_an_account_may_be_named_by_an_enum_of_strings(producer, lanes, shop):
    one = producer.track("M", email=ADA, account=shop)
    assert producer.flush(10).left == 0
    many = producer.enqueue_many([Track(metric="M", email=ADA)], account=shop, bulk=False)

    assert many.added == 1
    assert lanes.ids(account=shop.value)[0] == one
    assert [entry.envelope.account for entry in lanes.entries(account=shop.value)] == 2 * [
        shop.value
    ]


def test_one_redis_serves_two_producers_of_one_process(relay_settings, lanes):
    one, two = Producer(relay_settings), Producer(relay_settings)
    ids = [producer.track("M", email=ADA) for _ in range(20) for producer in (one, two)]

    assert one.flush(10).left == two.flush(10).left == 0
    assert sorted(lanes.ids()) == sorted(ids)
    one.close()
    two.close()


def test_the_digest_keeps_a_producer_of_another_namespace_apart(
    relay_settings, redis_url, lanes_of
):
    staging = Settings(
        redis_url=redis_url, spool_dir=relay_settings.spool_directory, namespace="staging"
    )
    producer = Producer(staging)
    identity = producer.track("M", email=ADA)
    assert producer.flush(10).left == 0
    producer.close()

    with connect(redis_url) as redis:
        assert lanes_of(redis, staging.keys).ids() == [identity]
        assert lanes_of(redis).ids() == []


def test_commands_that_are_enqueued_together_are_stored_all_or_none_in_their_order(away, stored):
    producer = Producer(away)
    huge = Track(metric="M", email=ADA, properties={str(n): "x" * 99_999 for n in range(60)})

    ids = producer.enqueue_together([Identify(email=ADA), Track(metric="M", email=ADA)])
    with pytest.raises(InvalidCommandError, match="bytes"):
        producer.enqueue_together([Track(metric="M", email=ADA), huge])

    assert [envelope.id for _, envelope in stored(away)] == ids
    producer.close()


WAITS = {
    "flush": lambda producer, seconds: producer.flush(seconds),
    "close": lambda producer, seconds: producer.close(seconds),
    "created_list": lambda producer, seconds: producer.created_list("c", timeout=seconds),
    "enqueue_many": lambda producer, seconds: producer.enqueue_many([], timeout=seconds),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("seconds", ["x", -1, math.nan, math.inf, True])
def test_a_timeout_that_is_no_time_is_refused_though_nothing_has_to_wait(producer, wait, seconds):
    with pytest.raises(InvalidCommandError, match=r"^timeout: must be a finite number of seconds"):
        wait(producer, seconds)


@pytest.mark.parametrize("source", [5, "", b"load"])
def test_a_source_that_is_no_name_is_refused(producer, source):
    with pytest.raises(InvalidCommandError, match=r"^source: must "):
        producer.enqueue_many([Identify(email=ADA)], source=source)


# --- a process that can have no more threads ------------------------------------------------------


def test_verbs_store_though_the_process_can_have_no_more_threads(away, stored_ids, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    async def store():
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            return [
                producer.track("M", email=ADA),
                await producer.unsubscribe_async(email=ADA),
                await producer.delete_profile_async(email=ADA),
            ]

    producer = Producer(away)

    ids = asyncio.run(store())

    assert stored_ids(away) == ids
    assert producer.close().left == 3


def test_what_an_async_verb_raises_is_raised_and_it_is_called_once(away, monkeypatch):
    calls = []

    def broken(*_, **__):
        calls.append(1)
        raise RuntimeError("broken")

    producer = Producer(away)
    monkeypatch.setattr(producer, "unsubscribe", broken)

    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(producer.unsubscribe_async(email=ADA))
    assert calls == [1]
