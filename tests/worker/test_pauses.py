"""A person's pauses, as the command line and the dashboard ask for them."""

from __future__ import annotations

import pytest

from klaviyo_relay import Identify, Producer, Track
from klaviyo_relay_worker.breaker import WHOLE_ACCOUNT, Breakers
from klaviyo_relay_worker.errors import UnknownLaneError
from klaviyo_relay_worker.pauses import Pauses
from klaviyo_relay_worker.status import Status


@pytest.fixture
def pauses(redis, keys, relay_settings):
    producer = Producer(relay_settings)
    producer.enqueue_many([Track(metric="M", email="ada@lovelace.dev")], bulk=False, timeout=10)
    producer.enqueue_many([Identify(email="ada@lovelace.dev")], bulk=False, timeout=10)
    return Pauses(redis, keys)


@pytest.fixture
def paused(redis, keys):
    def names():
        lanes = Status(redis, keys).report()["accounts"]["default"]["lanes"]
        return [name for name, lane in lanes.items() if lane["paused"]]

    return names


def test_a_lane_is_paused_alone_and_goes_on(pauses, paused):
    pauses.pause("default", "events")
    assert paused() == ["events"]
    pauses.resume("default", "events")
    assert paused() == []


def test_an_account_is_paused_with_all_its_lanes(pauses, paused):
    pauses.pause("default")
    assert paused() == ["events", "profiles"]
    pauses.resume("default")
    assert paused() == []


def test_resume_ends_klaviyos_pauses_too(pauses, paused, redis, keys):
    breakers = Breakers(redis, keys)
    breakers.pause("default", WHOLE_ACCOUNT, "unauthorized", 60)
    breakers.pause("default", "events", "unauthorized", 60)
    pauses.resume("default")
    assert paused() == []


@pytest.mark.parametrize(("account", "lane"), [("nobody", None), ("default", "lists")])
def test_what_has_had_no_command_cannot_be_paused(pauses, account, lane):
    with pytest.raises(UnknownLaneError):
        pauses.pause(account, lane)
