"""`dead redrive` and `discard`: by id in few steps, and whole whatever is killed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from environment import environment_of
from klaviyo_relay import Identify, Track
from klaviyo_relay_worker.status import Status

ADA = Track(metric="Placed Order", email="ada@lovelace.dev")
BOB = Identify(external_id="bob-17", first_name="Bob")


@pytest.fixture
def lanes(redis, relay_settings):
    """The numbers of all lanes, now."""

    def lanes():
        report = Status(redis, relay_settings.keys).report()
        assert report["lost"] == report["surplus"] == 0
        return report["accounts"]["default"]["lanes"]

    return lanes


def scripts_run(redis):
    return redis.info("commandstats")["cmdstat_evalsha"]["calls"]


def test_many_ids_of_two_lanes_go_some_hundred_a_step(bury, run, redis, lanes):
    tracked, identified = bury(*[ADA] * 600), bury(*[BOB] * 600)
    ids = [one for pair in zip(tracked, identified, strict=True) for one in pair]
    before = scripts_run(redis)
    done = run("dead", "redrive", "--json", *ids)
    assert json.loads(done.stdout) == {"redriven": 1200, "left": 0}
    assert scripts_run(redis) - before < 20
    assert [lanes()[name]["backlog"] for name in ("events", "profiles")] == [600, 600]


@pytest.mark.parametrize("verb", ["redrive", "discard"])
def test_an_id_that_is_no_dead_letter_is_said_and_nothing_moves(bury, run, lanes, verb):
    ids = bury(*[ADA] * 3)
    done = run("dead", verb, "--yes", ids[0], "nobody", ids[1])
    assert (done.exit_code, done.stderr) == (1, "Error: not dead letters: nobody\n")
    assert lanes()["events"]["dead"] == 3


def test_an_id_that_is_given_twice_is_moved_once(bury, run, lanes):
    [identity] = bury(ADA)
    assert run("dead", "redrive", identity, identity).stdout == "1 redriven\n"
    assert lanes()["events"]["backlog"] == 1


def test_a_filter_leaves_out_ids_that_do_not_fit(bury, run, lanes):
    [ada], [bob] = bury(ADA), bury(BOB)
    assert run("dead", "redrive", ada, bob, "--verb", "identify").stdout == "1 redriven\n"
    assert lanes()["events"]["dead"] == 1


def test_a_process_that_is_killed_amid_a_redrive_leaves_the_rest_dead(
    bury, environment, lanes, until
):
    ids = bury(*[ADA] * 900)
    command = [sys.executable, "-m", "klaviyo_relay_worker", "dead", "redrive", "--rate", "100/s"]
    process = subprocess.Popen(
        [*command, *ids], stdin=subprocess.DEVNULL, env={**environment_of(), **environment}
    )
    try:
        until(lambda: lanes()["events"]["backlog"])
    finally:
        process.kill()
        process.wait(10)
    left = lanes()["events"]
    assert left["backlog"] + left["dead"] == left["accepted"] == 900
    assert 0 < left["backlog"] < 900
