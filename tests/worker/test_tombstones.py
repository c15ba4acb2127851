"""Tombstones: how far the forgetting of a person has come, never set back."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.pseudonyms import Pseudonyms
from klaviyo_relay_worker.tombstones import Tombstones

ADA, BOB = "email:ada@x.io", "email:bob@x.io"


@pytest.fixture
def stones(redis, keys):
    return Tombstones(redis, keys, "default", Pseudonyms(redis, keys))


def test_nobody_is_forgotten_at_first(stones):
    assert not stones.exist()
    assert stones.find([ADA]) == {}
    assert stones.find([]) == {}


def test_who_is_to_be_forgotten_is_found_and_nobody_else(stones):
    assert stones.plant(ADA, 100)
    assert stones.exist()
    found = stones.find([BOB, ADA])
    assert list(found) == [ADA]
    stone = found[ADA]
    assert (stone.at, stone.asked, stone.answered, stone.returned) == (100, 0, 0, 0)
    assert stone.awaits is None
    assert stone.planted > 1_700_000_000_000


def test_only_a_newer_deletion_plants_again(stones):
    stones.plant(ADA, 100)
    stones.answer(ADA, 100)
    assert not stones.plant(ADA, 100)
    assert not stones.plant(ADA, 99)
    assert stones.find([ADA])[ADA].answered
    assert stones.plant(ADA, 101)
    assert (stones.find([ADA])[ADA].at, stones.find([ADA])[ADA].answered) == (101, 0)


def test_the_planners_that_are_awaited_are_noted_once(stones):
    stones.plant(ADA, 100)
    assert stones.wait_for(ADA, 100, {"events": "token"})
    assert not stones.wait_for(ADA, 100, {"events": "another"})
    assert stones.find([ADA])[ADA].awaits == {"events": "token"}


def test_klaviyo_may_be_asked_until_the_person_comes_back(stones):
    stones.plant(ADA, 100)
    assert [stones.ask(ADA, 100), stones.ask(ADA, 100)] == [True, True]
    stones.answer(ADA, 100)
    stones.come_back(ADA, 200)
    assert stones.find([ADA])[ADA].returned == 200
    assert not stones.ask(ADA, 100)


def test_an_older_deletion_changes_nothing_of_a_newer_one(stones):
    stones.plant(ADA, 100)
    stones.plant(ADA, 200)
    stones.answer(ADA, 100)
    assert stones.find([ADA])[ADA].answered == 0


def test_accounts_have_their_own(stones, redis, keys):
    stones.plant(ADA, 100)
    other = Tombstones(redis, keys, "other", Pseudonyms(redis, keys))
    assert other.find([ADA]) == {}
