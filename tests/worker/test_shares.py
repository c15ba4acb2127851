"""Shares: one account never has more than half, and there is always something for the next one."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klaviyo_relay_worker.shares import Senders, Shares


def greedy(shares, account):
    """How many places an account gets that takes whatever it is given."""
    taken = 0
    while taken < 1000 and shares.take(account):
        taken += 1
    return taken


@pytest.mark.parametrize(("places", "most"), [(1, 1), (2, 1), (4, 2), (15, 8), (16, 8), (64, 32)])
def test_alone_an_account_gets_half(places, most):
    assert greedy(Shares(places), "a") == most


def test_several_greedy_ones_leave_something_for_the_next():
    shares = Shares(16)
    assert [greedy(shares, account) for account in "abcdef"] == [8, 4, 2, 1, 1, 1]


def test_what_is_given_back_can_be_taken_again():
    shares = Shares(4)
    assert greedy(shares, "a") == 2
    shares.give_back("a")
    assert (shares.take("a"), shares.take("a"), shares.is_full("a")) == (True, False, True)


def test_without_a_number_nobody_is_turned_away():
    shares = Shares(None)
    shares.resize(2)
    assert greedy(shares, "a") == 1000


def test_a_pool_that_was_made_smaller_takes_no_more_until_there_is_room():
    shares = Shares(16)
    greedy(shares, "a")
    shares.resize(4)
    assert not shares.take("a")
    assert shares.take("b")


@given(st.integers(1, 40), st.lists(st.tuples(st.sampled_from("abcd"), st.booleans())))
def test_whoever_holds_none_gets_one_and_nobody_takes_more_than_half(places, steps):
    shares, held = Shares(places), dict.fromkeys("abcd", 0)
    for account, is_taking in steps:
        if is_taking:
            is_granted = shares.take(account)
            assert is_granted or held[account]
            held[account] += is_granted
            assert held[account] <= max(1, (places + 1) // 2)
        elif held[account]:
            shares.give_back(account)
            held[account] -= 1


def test_a_sender_is_given_back_whatever_the_conversation_came_to():
    senders = Senders(4, Shares(4))
    gate = threading.Event()

    def fail(batch):
        gate.wait(10)
        raise ValueError(batch)

    futures = [senders.submit("a", fail, batch) for batch in "xy"]
    assert senders.is_full("a")
    assert not senders.is_full("b")
    gate.set()
    assert [str(future.exception(10)) for future in futures] == ["x", "y"]
    assert not senders.is_full("a")
    senders.shutdown()
    with pytest.raises(RuntimeError):
        senders.submit("a", fail, "z")
    assert not senders.is_full("a")
