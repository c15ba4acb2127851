"""What the person on call leans on: examples in every help, JSON of one shape, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess

import click
import pytest
from click.testing import CliRunner

from klaviyo_relay import Track
from klaviyo_relay_worker.cli.commands import cli
from programs import SCRIPT

FOR_THE_PERSON_ON_CALL = (
    "status",
    "check",
    "explain",
    "dead",
    "pause",
    "resume",
    "spool",
    "forget",
    "worker",
)
LANE = {
    "accepted", "delivered", "dead", "dropped", "discarded", "backlog", "parked", "following",
    "oldest_seconds", "breaker", "paused", "paused_because", "waits_for", "dropped_by_rule",
    "in_delivery", "lost", "surplus", "checked",
}  # fmt: skip


def leaves(command, path=()):
    """Every verb with its path."""
    yield path, command
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            if path or name in FOR_THE_PERSON_ON_CALL:
                yield from leaves(child, (*path, name))


@pytest.fixture
def run(site):
    def run(*arguments, **more):
        return CliRunner().invoke(cli, arguments, env={**site.environment, **more})

    return run


@pytest.mark.parametrize("path", [path for path, _ in leaves(cli) if path], ids=" ".join)
def test_every_help_has_an_example_that_is_right(path):
    shown = CliRunner().invoke(cli, [*path, "--help"])
    assert shown.exit_code == 0
    [example] = [
        one.strip()
        for one in shown.output.partition("Example:")[2].splitlines()
        if "klaviyo-relay" in one
    ]
    words = example[example.index("klaviyo-relay") :].split()[1:]
    assert words[: len(path)] == list(path)
    command, rest = cli, words
    while isinstance(command, click.Group):
        command, rest = command.commands[rest[0]], rest[1:]
    with command.make_context("example", rest):
        pass


def test_the_json_of_status_has_the_shape_that_the_documents_name(site, run):
    site.enqueue(Track(metric="M", email="ada@lovelace.dev"))
    done = run("status", "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, set(report)) == (0, {"accounts", "spool", "lost", "surplus"})
    assert set(report["accounts"]["default"]) == {"lanes"}
    assert set(report["accounts"]["default"]["lanes"]["events"]) == LANE
    assert set(report["spool"]) == {"pending", "orphans", "unreadable"}


def test_a_pause_is_said_and_seen_and_ended(site, run):
    site.enqueue(Track(metric="M", email="ada@lovelace.dev"))
    for verb, lane, is_paused in (
        ("pause", "events", True), ("resume", "events", False),
        ("pause", None, True), ("resume", None, False),
    ):  # fmt: skip
        done = run(verb, "default", "--json", *(["--lane", lane] if lane else []))
        assert done.exit_code == 0
        assert json.loads(done.stdout) == {"account": "default", "lane": lane, "paused": is_paused}
        assert site.lane("events")["paused"] is is_paused
    assert run("pause", "nobody").exit_code == 1
    assert run("pause", "default", "--lane", "nowhere").exit_code == 1
    assert run("pause").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--json"),
        ("pause", "default"),
        ("resume", "default"),
        ("dead", "list"),
    ],
    ids=" ".join,
)
def test_a_redis_that_is_away_is_exit_code_1_and_one_sentence(site, arguments):
    done = site.run(*arguments, KLAVIYO_RELAY_REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("klaviyo-relay: Redis does not answer")
    assert len(done.stderr.splitlines()) == 1


def test_watching_goes_on_while_redis_is_away_and_ends_with_ctrl_c(own_redis, site_of):
    site = site_of(own_redis.url)
    site.enqueue(Track(metric="M", email="ada@lovelace.dev"))
    process = subprocess.Popen(
        [SCRIPT, "status", "--watch", "--json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=site.environment,
    )  # fmt: skip
    assert json.loads(process.stdout.readline())["lost"] == 0
    own_redis.stop()
    assert "Redis does not answer" in process.stderr.readline()
    own_redis.start()
    assert json.loads(process.stdout.readline())["accounts"]["default"]
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in complaint
    assert "Aborted" not in complaint
