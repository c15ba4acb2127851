"""`klaviyo-relay get …`: the console script against a real sandbox and a real Redis."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from klaviyo_relay_worker.embedded import PrivateRedis

SCRIPT = Path(sys.executable).with_name("klaviyo-relay")
KEY = "pk_e2e_secret_0123456789"


class Klaviyo:
    """Puts things into the sandbox, as Klaviyo's other clients do."""

    def __init__(self, sandbox):
        self.sandbox = sandbox

    def post(self, path, kind, attributes, **more):
        body = {"data": {"type": kind, "attributes": attributes, **more}}
        request = Request(  # noqa: S310 - our own sandbox on loopback
            self.sandbox.url + path,
            data=json.dumps(body).encode(),
            headers={
                "Authorization": f"Klaviyo-API-Key {KEY}",
                "Content-Type": "application/vnd.api+json",
                "revision": "2026-07-15",
            },
        )
        with urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
            return answer.read()

    def event(self, metric, email, n=0, **attributes):
        metric_ = {"data": {"type": "metric", "attributes": {"name": metric}}}
        profile = {"data": {"type": "profile", "attributes": {"email": email}}}
        given = {"unique_id": uuid4().hex, "properties": {"n": n}, **attributes}
        given |= {"metric": metric_, "profile": profile}
        self.post("/api/events", "event", given)

    def members(self, list_id, number):
        rows = [
            {
                "type": "profile",
                "attributes": {"email": f"p{at:04}@shop.io", "properties": {"at": at}},
            }
            for at in range(number)
        ]
        self.post(
            "/api/profile-bulk-import-jobs",
            "profile-bulk-import-job",
            {"profiles": {"data": rows}},
            relationships={"lists": {"data": [{"type": "list", "id": list_id}]}},
        )
        self.sandbox.wait(members={list_id: number})


@pytest.fixture
def klaviyo(sandbox):
    return Klaviyo(sandbox)


@pytest.fixture
def start(site):
    """Starts `klaviyo-relay get` and leaves it running; ends it after the test."""
    started = []

    def make(*arguments, **settings):
        process = subprocess.Popen(
            [SCRIPT, "get", *arguments],
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "env": site.environment,
                **settings,
            },
        )
        started.append(process)
        return process

    yield make
    for process in started:
        process.kill()
        process.communicate()


def documents(done):
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_lists_come_as_a_table_as_json_and_as_csv(site, sandbox):
    ids = [sandbox.create_list(f"List {number}") for number in range(12)]
    table = site.run("get", "lists")
    assert (table.returncode, table.stderr) == (0, "")
    header, *lines = table.stdout.splitlines()
    assert header.split() == ["ID", "NAME", "OPT_IN_PROCESS", "CREATED"]
    assert [line.split()[0] for line in lines] == ids
    assert [one["id"] for one in documents(site.run("get", "lists", "--json"))] == ids
    records = list(csv.DictReader(io.StringIO(site.run("get", "lists", "--csv").stdout)))
    assert [one["name"] for one in records] == [f"List {number}" for number in range(12)]
    assert len(documents(site.run("get", "lists", "--json", "--count", "11"))) == 11


def test_events_are_those_of_a_profile_and_a_metric_newest_first(site, klaviyo):
    for day, metric, who in ((1, "Ordered", "ada"), (2, "Seen", "ada"), (3, "Ordered", "eve")):
        klaviyo.event(metric, f"{who}@lovelace.dev", time=f"2026-02-0{day}T10:00:00Z", value=day)
    shown = documents(site.run("get", "events", "--email", "ada@lovelace.dev", "--json"))
    assert [one["metric"] for one in shown] == ["Seen", "Ordered"]
    identity = shown[0]["profile_id"]
    run = ("get", "events", "--profile", identity, "--metric", "Ordered", "--csv")
    [record] = csv.DictReader(io.StringIO(site.run(*run).stdout))
    assert (record["datetime"], record["value"]) == ("2026-02-01T10:00:00Z", "1.0")
    assert json.loads(record["event_properties"])["$value"] == 1.0
    since = documents(site.run("get", "events", "--json", "--sort", "asc", "--since", "2026-02-02"))
    assert [one["metric"] for one in since] == ["Seen", "Ordered"]
    until = documents(site.run("get", "events", "--json", "--until", "2026-02-02"))
    assert len(until) == 1


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("events", "--since", "yesterday"), "--since: must be a time", 2),
        (("events", "--metric", "Nope"), "--metric: Klaviyo has no metric", 2),
        (("events", "--metric", "A", "--metric-id", "B"), "--metric-id | --metric: give one", 2),
        (("events", "--profile", "A", "--email", "a@b.io"), "--profile | --email: give one", 2),
        (("events", "--profile", "UNKNOWN"), "--profile: Klaviyo knows nothing by this id", 1),
        (("events", "--email", "nobody@shop.io"), "--email: Klaviyo knows no profile", 1),
        (("events", "--follow", "--since", "2026-01-01"), "--since: not with --follow", 2),
        (("events", "--cursor", "nonsense"), "The cursor is not valid", 1),
        (("lists", "--json", "--csv"), "--json | --csv: give one", 2),
        (("lists", "--output", "/nowhere/at/all"), "--output: No such file", 2),
        (("lists", "--account", "other"), "KLAVIYO_API_KEY_OTHER", 2),
    ],
)
def test_what_cannot_be_read_is_said_in_options(site, arguments, said, code):
    done = site.run("get", *arguments)
    assert said in done.stderr
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (code, "", False)


def test_a_closed_pipe_ends_it_silently(site, klaviyo, start):
    klaviyo.event("Ordered", "ada@lovelace.dev")
    reading, writing = os.pipe()
    os.close(reading)
    process = start("events", stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=30)[1] == ""


def test_on_a_terminal_no_line_is_too_wide_and_no_name_moves_the_cursor(site, sandbox, start):
    sandbox.create_list("\x1b[2Jboo " + "長" * 200)
    control, terminal = pty.openpty()
    process = start("lists", stdout=terminal, env={**site.environment, "COLUMNS": "70"})
    assert process.communicate(timeout=30)[1] == ""
    os.close(terminal)
    shown = os.read(control, 65536).decode().replace("\r\n", "\n")
    os.close(control)
    assert r"\u001b[2Jboo 長長" in shown
    assert "\x1b" not in shown
    header, line = shown.splitlines()
    assert line.endswith("Z"), "times are never cut"
    assert max(len(header), len(line) + line.count("長")) <= 70


class Followed:
    """A `get events --follow` with its two streams in files."""

    def __init__(self, process, out, err, until):
        self.process, self._until = process, until
        self.out, self.err = out, err

    def numbers(self, number):
        """The `n` of the events shown, as soon as there are so many; no more may have come."""
        lines = self._lines(self.out, number)
        assert len(lines) == number
        return [json.loads(line)["event_properties"]["n"] for line in lines]

    def complaints(self, number):
        return self._lines(self.err, number)

    def _lines(self, path, number):
        def is_there():
            lines = path.read_text().splitlines()
            return lines if len(lines) >= number else None

        return self._until(is_there, what=path.read_text)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(10)


@pytest.fixture
def follow(start, tmp_path, until):
    def make(*arguments, **settings):
        out, err = tmp_path / "followed", tmp_path / "complaints"
        arguments = ("events", "--follow", "--json", "--interval", "1", *arguments)
        with out.open("w") as stdout, err.open("w") as stderr:
            process = start(*arguments, stdout=stdout, stderr=stderr, **settings)
        return Followed(process, out, err, until)

    return make


def test_following_shows_the_newest_then_each_that_comes_once(klaviyo, follow):
    for number in range(15):
        klaviyo.event("Ordered", "ada@lovelace.dev", n=number)
    followed = follow("--metric", "Ordered", "--count", "4")
    assert len(set(followed.numbers(4))) == 4
    klaviyo.event("Seen", "ada@lovelace.dev", n=100)
    for number in range(200, 203):
        klaviyo.event("Ordered", "eve@lovelace.dev", n=number)
    assert sorted(followed.numbers(7)[4:]) == [200, 201, 202]
    klaviyo.event("Ordered", "ada@lovelace.dev", n=300)
    assert followed.numbers(8)[7:] == [300]
    assert followed.interrupt() == 0
    assert len(followed.numbers(8)) == 8
    assert followed.err.read_text() == ""


def test_following_outlives_klaviyo_and_redis_and_says_so_once(site_of, klaviyo, follow, until):
    def looks():
        return sum(klaviyo.sandbox.summary()["requests"]["GET /api/events"].values())

    klaviyo.event("Ordered", "ada@lovelace.dev", n=1)
    with PrivateRedis() as server:
        followed = follow("--patience", "0.1", env=site_of(server.url).environment)
        followed.numbers(1)
        klaviyo.sandbox.set_faults([{"status": 503}])
        assert "503" in followed.complaints(1)[0]
        before = looks()
        until(lambda: looks() > before)
        klaviyo.sandbox.clear_faults()
        klaviyo.event("Ordered", "ada@lovelace.dev", n=2)
        assert followed.numbers(2) == [1, 2]
        server.stop()
        assert "Redis" in followed.complaints(2)[1]
        server.start()
        klaviyo.event("Ordered", "ada@lovelace.dev", n=3)
        assert followed.numbers(3) == [1, 2, 3]
        assert followed.interrupt() == 0
    assert len(followed.complaints(2)) == 2
