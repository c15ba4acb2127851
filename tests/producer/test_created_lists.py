import threading
import time

import pytest
from msgspec.structs import replace

from klaviyo_relay import Producer
from klaviyo_relay.created_lists import wait_for
from klaviyo_relay.errors import RedisUnavailableError
from klaviyo_relay.keys import Keys

COMMAND = "018f0000-0000-7000-8000-000000000001"
KEY = Keys().created("default", COMMAND)


def test_a_list_that_is_known_is_told_at_once(relay_settings, redis):
    redis.set(KEY, "Y6nRLr")

    assert wait_for(relay_settings, "default", COMMAND, 0.0) == "Y6nRLr"


def test_a_list_of_another_account_is_not_told(relay_settings, redis):
    redis.set(KEY, "Y6nRLr")

    assert wait_for(relay_settings, "shop_2", COMMAND, 0.0) is None


def test_a_list_that_is_not_known_in_time_is_none(relay_settings):
    began = time.monotonic()

    assert wait_for(relay_settings, "default", COMMAND, 0.25) is None
    assert time.monotonic() - began >= 0.25


def test_a_list_that_is_made_meanwhile_is_waited_for(relay_settings, redis):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(wait_for(relay_settings, "default", COMMAND, 30.0))
    )
    thread.start()
    redis.set(KEY, "Y6nRLr")
    thread.join(30.0)

    assert found == ["Y6nRLr"]


def test_a_redis_that_does_not_answer_is_an_error_without_its_password(relay_settings):
    away = replace(relay_settings, redis_url="redis://:geheim@127.0.0.1:1/0")

    with pytest.raises(RedisUnavailableError, match=r"127\.0\.0\.1:1") as caught:
        Producer(away).created_list(COMMAND, timeout=5.0)

    assert "geheim" not in str(caught.value)
