"""`klaviyo-relay forget`: the deletion is enqueued, and what waits of the person is gone."""

from __future__ import annotations

import pytest

from klaviyo_relay import Identify, Producer, Track
from klaviyo_relay_worker.status import Status

ADA, BOB = "ada@lovelace.dev", "bob@shop.io"


@pytest.fixture
def lanes(redis, keys):
    return lambda: Status(redis, keys).report()["accounts"]["default"]["lanes"]


def test_older_commands_are_purged_before_the_eyes_of_the_person(run, relay_settings, lanes):
    commands = [
        Identify(email=ADA, title="Countess"),
        Identify(email=BOB),
        Track(metric="M", email=ADA),
    ]
    Producer(relay_settings).enqueue_many(commands, bulk=False, timeout=10)
    done = run("forget", "--email", ADA)
    identity, told = done.stdout.splitlines()
    assert (done.exit_code, len(identity)) == (0, 36)
    assert told.startswith("2 older commands purged")
    found = {name: (lane["backlog"], lane["dropped"]) for name, lane in lanes().items()}
    assert found == {"profiles": (1, 1), "events": (0, 1), "privacy": (1, 0)}
    assert ADA not in done.output


def test_without_redis_the_deletion_waits_in_the_spool_and_that_is_said(run, tmp_path):
    done = run(
        "forget", "--phone-number", "+15005550006", KLAVIYO_RELAY_REDIS_URL="redis://127.0.0.1:1/0"
    )
    assert done.exit_code == 0
    assert "Redis does not answer; the deletion waits in" in done.stderr
    assert "purged" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "profile_id: exactly one is needed, not 0"),
        (("--email", ADA, "--profile-id", "01A"), "profile_id: exactly one is needed, not 2"),
        (("--email", "no address"), "email: "),
        (("--phone-number", "+1"), "phone_number: "),
    ],
    ids=["none", "two", "no address", "no number"],
)
def test_not_exactly_one_good_identifier_is_wrong_usage(run, lanes, redis, arguments, why):
    done = run("forget", *arguments)
    assert (done.exit_code, why in done.stderr) == (2, True), done.output
    assert redis.dbsize() == 0
