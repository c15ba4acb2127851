"""`klaviyo-relay spool` beside files that another user has left in the same directory."""

from __future__ import annotations

import json

import pytest

from spool_files import EVENTS, closed_to_us, left_behind


@pytest.fixture
def another_users(relay_settings):
    return closed_to_us(left_behind(relay_settings, EVENTS))


@pytest.mark.usefixtures("another_users")
def test_status_counts_the_files_that_it_may_not_open(run, relay_settings):
    left_behind(relay_settings, EVENTS)

    found = json.loads(run("spool", "status").stdout)

    assert (found["pending"], found["orphans"], found["unreadable"]) == (1, 1, 1)
    assert "1 file of another user" in run("status").stdout


def test_flush_ships_the_others_and_says_that_something_may_be_left(
    run, relay_settings, another_users, redis
):
    left_behind(relay_settings, EVENTS)

    done = run("spool", "flush")

    assert redis.xlen("kr:{default:events}:stream") == 1
    assert done.exit_code == 1
    assert "0 commands left" in done.stdout
    assert "1 file of another user" in done.stdout
