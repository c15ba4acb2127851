"""The verbs by hand: `track-once` is `track` with an id that is the same for everyone."""

from __future__ import annotations

import msgspec
import pytest

from klaviyo_relay.commands import TRACK_ONCE_ID
from klaviyo_relay_worker.lane import Lane


def test_track_once_is_a_track_that_klaviyo_keeps_once(run, redis, keys):
    done = run("track-once", "Signed Up", "--email", "ada@lovelace.dev", "--value", "2")
    [entry], _, _ = Lane(redis, keys, "default", "events").read("0-0", 10)
    assert (done.exit_code, done.stdout.strip()) == (0, entry.envelope.id)
    sent = entry.envelope.command
    assert (sent.metric, sent.email, sent.value) == ("Signed Up", "ada@lovelace.dev", 2.0)
    assert sent.unique_id == TRACK_ONCE_ID


def test_the_unique_id_is_not_for_track_once(run):
    done = run("track-once", "Signed Up", "--email", "ada@lovelace.dev", "--unique-id", "mine")
    assert done.exit_code == 2
    assert "--unique-id" in done.stderr


@pytest.mark.parametrize("verb", ["track", "track-once"])
def test_a_profile_goes_before_its_event(run, redis, keys, verb):
    done = run(verb, "M", "--email", "ada@lovelace.dev", "--profile", '{"first_name": "Ada"}')
    [profile], _, _ = Lane(redis, keys, "default", "profiles").read("0-0", 10)
    [event], _, _ = Lane(redis, keys, "default", "events").read("0-0", 10)
    assert profile.envelope.command.first_name == "Ada"
    assert done.stdout.strip() == event.envelope.id


def test_a_profile_is_not_stored_without_its_event(run, tmp_path):
    huge = msgspec.json.encode({str(number): "x" * 99_999 for number in range(60)}).decode()
    who = ("--email", "ada@lovelace.dev", "--profile", '{"first_name": "Ada"}')
    done = run("track", "M", *who, "--properties", huge, KLAVIYO_RELAY_SPOOL_DIR=str(tmp_path))
    assert done.exit_code == 2
    assert "bytes" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_account_that_cannot_be_one_is_a_mistake_of_the_call(run):
    done = run("track", "M", "--email", "ada@lovelace.dev", "--account", "Shop EU")
    assert done.exit_code == 2
    assert "account" in done.stderr
