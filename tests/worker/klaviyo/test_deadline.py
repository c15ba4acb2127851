"""A total deadline: the socket of a late request is shut, and of no other."""

from __future__ import annotations

import socket
import time

import pytest

from klaviyo_relay_worker.klaviyo.deadline import current, deadline


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_late_reader_is_woken(pair):
    ours, _ = pair
    began = time.monotonic()
    with deadline(0.2) as mine:
        mine.watch(ours)
        assert ours.recv(1) == b""
    assert 0.15 <= time.monotonic() - began < 2
    assert mine.has_passed


def test_a_socket_that_is_connected_too_late_is_shut_at_once(pair, until):
    ours, _ = pair
    with deadline(0.05) as mine:
        until(lambda: mine.has_passed)
        mine.watch(ours)
        assert ours.recv(1) == b""


def test_a_request_that_is_over_loses_nothing(pair):
    ours, theirs = pair
    with deadline(0.05) as first:
        first.watch(ours)
    with deadline(0.2) as second:  # the watch comes to it after the first one's time
        second.watch(theirs)
        theirs.settimeout(10)
        assert theirs.recv(1) == b""
    assert not first.has_passed


def test_a_short_deadline_after_a_long_one_is_kept(pair):
    ours, _ = pair
    with deadline(30):
        began = time.monotonic()
        with deadline(0.1) as short:
            short.watch(ours)
            assert ours.recv(1) == b""
        assert time.monotonic() - began < 5


def test_the_deadline_belongs_to_the_block():
    assert current() is None
    with deadline(5) as mine:
        assert current() is mine
    assert current() is None


def test_the_deadline_ends_with_an_error_too():
    with pytest.raises(ValueError, match="x"), deadline(5):
        raise ValueError("x")
    assert current() is None
