"""Filters of dead letters: each fits what it names and nothing else."""

from __future__ import annotations

import msgspec
import pytest

from klaviyo_relay import AddToList, Track
from klaviyo_relay_worker import dead_letters
from klaviyo_relay_worker.dead_letters import DeadLetter
from klaviyo_relay_worker.letter_filter import LetterFilter
from klaviyo_relay_worker.outcome import Failure

WHY = Failure(status=400, code="invalid")


@pytest.fixture
def tracked(talk):
    command = Track(metric="M", email="ada@lovelace.dev", external_id="17")
    stored = dead_letters.letter("shop:events", talk.entry(command).envelope, WHY, now=100.0)
    return msgspec.json.decode(stored, type=DeadLetter)


@pytest.fixture
def added(talk):
    command = AddToList(list_id="ABC123", phone_number="+15005550006")
    stored = dead_letters.letter("default:lists:bulk", talk.entry(command).envelope, WHY, now=200.0)
    return msgspec.json.decode(stored, type=DeadLetter)


@pytest.mark.parametrize(
    "fits",
    [
        {},
        {"account": "shop"},
        {"lane": "events"},
        {"lane": "shop:events"},
        {"verb": "track"},
        {"since": 100.0, "until": 100.0},
        {"email": "ada@lovelace.dev"},
        {"profile": "ada@lovelace.dev"},
        {"profile": "17"},
        {"account": "shop", "lane": "events", "code": "invalid", "profile": "17"},
    ],
    ids=str,
)
def test_a_letter_fits_all_that_is_given(tracked, fits):
    assert LetterFilter(**fits).takes(tracked)


@pytest.mark.parametrize(
    "fails",
    [
        {"account": "default"},
        {"lane": "event"},
        {"lane": "default:events"},
        {"lane": "events:bulk"},
        {"verb": "add_to_list"},
        {"code": "duplicate"},
        {"since": 100.5},
        {"until": 99.5},
        {"email": "Ada@lovelace.dev"},
        {"email": "17"},
        {"profile": "+15005550006"},
        {"profile": "1"},
        {"account": "shop", "profile": "18"},
    ],
    ids=str,
)
def test_a_letter_that_fits_all_but_one_is_left(tracked, fails):
    assert not LetterFilter(**fails).takes(tracked)


def test_a_low_priority_lane_is_another_lane(added):
    assert LetterFilter(lane="lists:bulk").takes(added)
    assert LetterFilter(lane="default:lists:bulk", profile="+15005550006").takes(added)
    assert not LetterFilter(lane="lists").takes(added)


@pytest.mark.parametrize(
    ("arguments", "is_taken"),
    [
        ('{"email":"ada@lovelace.dev"}', True),
        ('{"email":["ada@lovelace.dev"]}', False),
        ("[", False),
    ],
)
def test_arguments_that_made_no_command_are_searched_for_the_person(arguments, is_taken):
    stored = dead_letters.invalid("default:events", "task", "track", arguments, "why", now=1.0)
    letter = msgspec.json.decode(stored, type=DeadLetter)
    assert LetterFilter(email="ada@lovelace.dev").takes(letter) is is_taken


def test_only_lanes_that_may_fit_are_read():
    names = ["default:events", "default:events:bulk", "shop:events"]
    assert LetterFilter().lanes(names) == names
    assert LetterFilter(lane="events", account="shop").lanes(names) == ["shop:events"]
    assert LetterFilter().is_empty
    assert not LetterFilter(until=0.0).is_empty


def test_whom_a_filter_names_is_not_in_its_repr():
    shown = repr(LetterFilter(email="ada@lovelace.dev", lane="events"))
    assert shown == "<LetterFilter by lane, email>"
