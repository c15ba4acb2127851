"""`klaviyo-relay dead`, as a person on call types it."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner

from klaviyo_relay import Identify, Track
from klaviyo_relay_worker.cli.commands import cli
from klaviyo_relay_worker.outcome import Dead, Failure
from programs import SCRIPT
from settled_lanes import SettledLane

INVALID = Failure(status=400, code="invalid", title="Invalid", detail="is wrong")
DUPLICATE = Failure(status=409, code="duplicate", title="Again")


@pytest.fixture
def bury(site):
    """Commands become dead letters as a planner makes them."""

    def bury(command, number, failure, at, account="default"):
        site.enqueue(*[command] * number, account=account)
        with SettledLane(site.redis, site.settings.keys, command.lane, account) as held:
            return held.settle(Dead(failure), held.read(number), at=at)

    return bury


@pytest.fixture
def run(site):
    """The command line in this process: a process of its own takes a second to start."""

    def run(*arguments):
        done = CliRunner().invoke(cli, ["dead", *arguments], env=site.environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


ADA = Track(metric="Placed Order", email="ada@lovelace.dev", properties={"note": "secret"})
BOB = Identify(external_id="bob-17", first_name="Bob")


def ids(done):
    return {json.loads(line)["id"] for line in done.stdout.splitlines()}


def on_a_terminal(site, answer, *arguments):
    """Run it with a terminal as stdin; returns exit code, stdout and stderr."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode() + b"\n")
        done = subprocess.run(
            [SCRIPT, *arguments],
            stdin=theirs, capture_output=True, text=True, timeout=60, check=False,
            env=site.environment,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    return done.returncode, done.stdout, done.stderr


def test_dead_letters_are_listed_shown_redriven_and_discarded(site, sandbox, dead_ids):
    first, second = dead_ids
    listed = site.run("dead", "list")
    assert all(f"{identity} " in listed.stdout for identity in dead_ids)
    assert "refused by a fault rule" in listed.stdout
    assert "poison" not in listed.stdout, "payloads are private"
    lines = [json.loads(line) for line in site.run("dead", "list", "--json").stdout.splitlines()]
    assert sorted(line["id"] for line in lines) == dead_ids
    assert {line["status"] for line in lines} == {400}
    shown = json.loads(site.run("dead", "show", first).stdout)
    assert shown["envelope"]["command"]["email"].startswith("poison")
    assert site.run("dead", "show", "nobody").returncode == 1
    assert site.run("dead", "redrive", first).stdout == "1 redriven\n"
    assert site.run("dead", "redrive", first).returncode == 1
    assert site.run("dead", "discard", second).stdout == "1 discarded\n"
    lane = site.lane("events")
    assert (lane["backlog"], lane["dead"], lane["discarded"], lane["lost"]) == (1, 0, 1, 0)
    assert site.run("dead", "list").returncode == 1


def test_filters_choose_by_place_kind_reason_time_and_person(site, bury, run):
    ada = set(bury(ADA, 2, INVALID, 1_700_000_000.0))
    other = set(bury(ADA, 1, DUPLICATE, 1_700_003_600.0, account="shop"))
    bob = set(bury(BOB, 1, INVALID, 1_700_007_200.0))
    for arguments, expected in (
        ([], ada | other | bob),
        (["--account", "shop"], other),
        (["--lane", "profiles"], bob),
        (["--verb", "identify"], bob),
        (["--code", "duplicate"], other),
        (["--since", "2023-11-14T23:00"], other | bob),
        (["--until", "2023-11-14T23:13:20+00:00"], ada | other),
        (["--since", "2023-11-15T00:13:20+01:00", "--until", "1d"], other | bob),
        (["--email", "ada@lovelace.dev", "--code", "invalid"], ada),
        (["--profile", "bob-17"], bob),
    ):
        done = run("list", "--json", *arguments)
        assert (done.returncode, ids(done)) == (0, expected), arguments
    nothing = run("list", "--since", "1d")
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "no dead letter fits" in nothing.stderr
    assert run("list", "--since", "yesterday").returncode == 2
    assert run("redrive", "--verb", "identify").stdout == "1 redriven\n"
    assert site.lane("profiles")["backlog"] == 1


def test_the_oldest_are_listed_first_and_how_many_more_is_said(site, bury, run):
    newer = bury(ADA, 3, INVALID, 1_700_000_100.0)
    older = bury(BOB, 2, INVALID, 1_700_000_000.0)
    done = run("list", "--json", "--count", "3")
    listed = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert listed == [*sorted(older), min(newer)]
    assert done.stderr == "2 more; see --count and --all\n"
    every = run("list", "--json", "--all", "--count", "3")
    assert (ids(every), every.stderr) == ({*newer, *older}, "")


def test_a_dry_run_counts_by_kind_and_moves_nothing(site, bury, run):
    bury(ADA, 2, INVALID, 1_700_000_000.0)
    bury(BOB, 1, INVALID, 1_700_000_000.0)
    for verb, done in (("redrive", "redriven"), ("discard", "discarded")):
        shown = run(verb, "--all", "--dry-run")
        assert shown.returncode == 0
        lines = [line.split() for line in shown.stdout.splitlines()]
        assert lines == [
            ["2", "default:events", "track", "invalid"],
            ["1", "default:profiles", "identify", "invalid"],
            ["3", "would", "be", done],
        ]
    report = json.loads(run("redrive", "--all", "--dry-run", "--json").stdout)
    assert (report["count"], report["unsendable"]) == (3, 0)
    assert report["kinds"][0] == {
        "lane": "default:events", "verb": "track", "code": "invalid", "count": 2
    }  # fmt: skip
    assert len(site.dead()) == 3
    assert run("redrive", "--dry-run", "--code", "none").returncode == 1


@pytest.mark.parametrize(("verb", "place"), [("redrive", "backlog"), ("discard", "discarded")])
def test_more_than_one_is_asked_for_on_a_terminal(site, bury, verb, place):
    one, *_ = bury(ADA, 4, INVALID, 1_700_000_000.0)
    code, said, asked = on_a_terminal(site, "n", "dead", verb, "--all")
    assert (code, said) == (1, "")
    assert "4  default:events" in asked
    assert len(site.dead()) == 4
    code, said, asked = on_a_terminal(site, "n", "dead", verb, one)
    assert (code, said, asked) == (0, f"1 {verb.rstrip('e')}ed\n".replace("drived", "driven"), "")
    code, _, _ = on_a_terminal(site, "y", "dead", verb, "--lane", "events", "--code", "invalid")
    assert code == 0
    assert site.lane("events")[place] == 4


def test_without_a_terminal_only_a_redrive_goes_without_yes(site, bury, run):
    bury(ADA, 2, INVALID, 1_700_000_000.0)
    assert run("discard", "--all").returncode == 1
    assert len(site.dead()) == 2
    assert json.loads(run("redrive", "--all", "--json").stdout) == {
        "redriven": 2, "left": 0
    }  # fmt: skip
    bury(BOB, 2, INVALID, 1_700_000_000.0)
    assert run("discard", "--all", "--yes").stdout == "2 discarded\n"


def test_an_interrupted_redrive_keeps_what_is_done(site, bury, until):
    bury(ADA, 100, INVALID, 1_700_000_000.0)
    process = subprocess.Popen(
        [SCRIPT, "dead", "redrive", "--all", "--rate", "10/s"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=site.environment,
    )  # fmt: skip
    assert process.stderr.readline().endswith(" redriven so far\n")
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Traceback" not in complaint
    done = int(said.split()[0])
    lane = site.lane("events")
    assert (lane["backlog"], lane["dead"], lane["lost"]) == (done, 100 - done, 0)
    assert 0 < done < 100


def test_what_dies_after_the_count_is_left_alone(site, bury, run):
    bury(ADA, 1, INVALID, 1_700_000_000.0)
    seconds, _ = site.redis.time()
    bury(BOB, 1, INVALID, seconds + 3600.0)
    assert run("redrive", "--all").stdout == "1 redriven\n"
    assert [one.verb for one in site.dead()] == ["identify"]


def test_an_export_holds_payloads_and_is_its_owners_alone(bury, run, tmp_path):
    wanted = set(bury(ADA, 2, INVALID, 1_700_000_000.0))
    bury(BOB, 1, INVALID, 1_700_000_000.0)
    file = tmp_path / "letters.ndjson"
    done = run("export", str(file), "--lane", "events")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "2 exported\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    letters = [json.loads(line) for line in file.read_text().splitlines()]
    assert {one["id"] for one in letters} == wanted
    assert {one["envelope"]["command"]["properties"]["note"] for one in letters} == {"secret"}
    again = run("export", str(file))
    assert (again.returncode, "File exists" in again.stderr) == (1, True)
    assert len(file.read_text().splitlines()) == 2
    none = tmp_path / "none"
    assert run("export", str(none), "--code", "none").returncode == 1
    assert not none.exists()
    assert len(run("export", "-").stdout.splitlines()) == 3


def test_a_table_has_no_payload_and_no_formula(site, bury, run):
    hostile = Failure(status=400, code="=1+1", title="@SUM(A1)", detail="\x1b[2J\nsecond line")
    [identity] = bury(ADA, 1, hostile, 1_700_000_000.0)
    done = run("export", "-", "--format", "csv")
    [row] = csv.DictReader(io.StringIO(done.stdout))
    assert row["id"] == identity
    assert (row["code"], row["title"]) == ("'=1+1", "'@SUM(A1)")
    assert row["detail"] == "\\u001b[2J\\nsecond line"
    assert "lovelace" not in done.stdout
    assert "secret" not in done.stdout


def test_a_person_that_is_searched_for_is_not_printed(site, bury, run):
    bury(ADA, 2, INVALID, 1_700_000_000.0)
    for verb in (["list"], ["list", "--json"], ["redrive", "--dry-run"], ["discard", "--yes"]):
        done = run(*verb, "--email", "ada@lovelace.dev")
        assert done.returncode == 0
        assert "lovelace" not in done.stdout + done.stderr


MEASURED = """
import resource, sys
from klaviyo_relay_worker.cli.commands import cli
try:
    cli(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def kilobytes(site, *arguments):
    """The most memory that the command line took."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "dead", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        env=site.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["list", "--all"], ["export", "-"], ["redrive", "--all"]],
    ids=" ".join,
)
def test_memory_does_not_grow_with_the_letters(site, bury, arguments):
    [identity] = bury(ADA, 1, INVALID, 1_700_000_000.0)
    dead = site.settings.keys.lane("default", "events").dead
    [stored] = site.redis.hvals(dead)
    few = kilobytes(site, *arguments)
    for start in range(0, 100_000, 10_000):
        names = [f"{identity[:-6]}{at:06d}" for at in range(start, start + 10_000)]
        pairs = {one: stored.replace(identity.encode(), one.encode()) for one in names}
        site.redis.hset(dead, mapping=pairs)
    many = kilobytes(site, *arguments)
    # 100,000 letters are 50 MB; a page is of 500 letters, or some 4 MB.
    assert many - few < 20_000
