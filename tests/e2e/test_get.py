"""`klaviyo-relay get …`: the console script against a real sandbox and a real Redis."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import signal
import stat
import subprocess
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from klaviyo_relay_worker.embedded import PrivateRedis
from programs import SCRIPT

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
        with urlopen(request, timeout=30) as answer:  # noqa: S310 - the same
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

    def consent(self, action, list_id, *emails):
        """`create` to subscribe people to a list, `delete` to unsubscribe them from it."""
        word = "SUBSCRIBED" if action == "create" else "UNSUBSCRIBED"
        channels = {"email": {"marketing": {"consent": word}}}
        people = [
            {"type": "profile", "attributes": {"email": one, "subscriptions": channels}}
            for one in emails
        ]
        kind = f"profile-subscription-bulk-{action}-job"
        of_list = {"list": {"data": {"type": "list", "id": list_id}}} if list_id else {}
        self.post(f"/api/{kind}s", kind, {"profiles": {"data": people}}, relationships=of_list)


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
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def documents(done):
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_without_standard_output_there_are_files(site, sandbox, tmp_path):
    sandbox.create_list("Newsletter")
    closed = ["bash", "-c", 'exec "$@" >&-', "bash", str(SCRIPT), "get", "lists"]
    run = {"env": site.environment, "stderr": subprocess.PIPE, "text": True, "timeout": 60}
    done = subprocess.run(closed, check=False, **run)
    assert (done.returncode, done.stderr) == (
        1,
        "Error: writing fails: standard output is closed\n",
    )
    done = subprocess.run([*closed, "--output", str(tmp_path / "lists")], check=False, **run)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Newsletter" in (tmp_path / "lists").read_text()


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


def test_what_cannot_be_read_is_said_in_options(site):
    done = site.run("get", "events", "--since", "yesterday")
    assert "--since: must be a time" in done.stderr
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    done = site.run("get", "list", "ABCDEF")
    assert "ID: Klaviyo knows nothing by this id" in done.stderr
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (1, "", False)


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
        return self.process.wait(60)


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
        given = ("--email", "ada@lovelace.dev", "--patience", "0.1")
        followed = follow(*given, env=site_of(server.url).environment)
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
    asked = klaviyo.sandbox.summary()["requests"]
    assert asked["GET /api/profiles"] == {"200": 1}, "whose address it is does not change"


@pytest.fixture
def newsletter(sandbox, klaviyo):
    """A list with 1,200 members: twelve pages."""
    list_id = sandbox.create_list("Newsletter")
    klaviyo.members(list_id, 1_200)
    return list_id


ADDRESSES = [f"p{at:04}@shop.io" for at in range(1_200)]


def test_all_members_of_a_large_list_go_into_a_file_for_its_owner(site, newsletter, tmp_path):
    path = tmp_path / "members.csv"
    done = site.run("get", "members", "--list-id", newsletter, "--csv", "--output", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with path.open(newline="") as file:
        records = list(csv.DictReader(file))
    assert sorted(one["email"] for one in records) == ADDRESSES
    assert sorted(json.loads(one["properties"])["at"] for one in records) == list(range(1_200))
    assert all(one["joined_group_at"] for one in records)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("members")] == [path.name]
    pages = site.sandbox.summary()["requests"]["GET /api/lists/{id}/profiles"]
    assert pages == {"200": 12}


def test_a_closed_pipe_ends_it_silently(newsletter, start):
    process = start("members", "--list-id", newsletter, "--json")
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    process.wait(60)
    assert process.stderr.read() == ""


def test_who_watches_a_file_grow_sees_the_rows_counted(site, newsletter, start, tmp_path):
    control, terminal = pty.openpty()
    path = tmp_path / "members.ndjson"
    run = ("members", "--list-id", newsletter, "--json", "--output", str(path), "--count", "250")
    process = start(*run, stdout=terminal, stderr=terminal)
    assert process.wait(60) == 0
    os.close(terminal)
    shown = os.read(control, 65536).decode()
    os.close(control)
    assert re.search(r"100 rows, [\d,]+/s.*200 rows, [\d,]+/s.*250 rows, [\d,]+/s", shown)
    assert shown.endswith("\r\x1b[K")
    assert len(path.read_text().splitlines()) == 250


def test_members_are_counted_named_and_found_by_the_name_of_their_list(site, newsletter, tmp_path):
    first = documents(
        site.run("get", "members", "--list-name", "Newsletter", "--json", "--count", "150")
    )
    assert len({one["id"] for one in first}) == 150
    addresses = tmp_path / "addresses"
    addresses.write_text("\ufeff" + "\n".join([*ADDRESSES[::10], "", "nobody@shop.io"]))
    run = ("get", "members", "--list-id", newsletter, "--json", "--emails-from", str(addresses))
    assert sorted(one["email"] for one in documents(site.run(*run))) == ADDRESSES[::10]
    run = ("get", "profiles", "--json", "--email", "p0003@shop.io", "--email", "P0004@shop.io")
    assert sorted(one["email"] for one in documents(site.run(*run))) == ADDRESSES[3:5]


def cursor_in(said):
    [found] = re.findall(r"go on with --cursor '([^']+)'", said)
    return found


class Failing:
    """Makes the sandbox fail amid a read, so that it breaks off."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self._before = len(sandbox.requests())

    def after_pages(self, number):
        self.sandbox.wait(requests=self._before + number)
        self.sandbox.set_faults([{"status": 503}])

    def mend(self):
        self.sandbox.clear_faults()
        self.sandbox.configure(latency_seconds=0.0)


@pytest.fixture
def failing(sandbox, newsletter):
    # Slow, so that there are pages left when the faults come.
    sandbox.configure(latency_seconds=0.2)
    return Failing(sandbox)


def test_a_read_that_breaks_off_goes_on_by_its_cursor(site, newsletter, failing, start, tmp_path):
    run = ("members", "--list-id", newsletter, "--json")
    with (tmp_path / "first").open("w") as stdout:
        process = start(*run, "--patience", "0", "--count", "1150", stdout=stdout)
    failing.after_pages(3)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert "Klaviyo answers 503" in said
    failing.mend()
    [left] = re.findall(r"--count (\d+)", said)
    rest = documents(site.run("get", *run, "--cursor", cursor_in(said), "--count", left))
    shown = [json.loads(line) for line in (tmp_path / "first").read_text().splitlines()]
    assert 0 < len(shown) < 1_150
    assert len({one["email"] for one in [*shown, *rest]}) == len(shown) + len(rest) == 1_150


def test_an_interrupted_file_is_no_whole_one_and_can_be_completed(
    site, newsletter, failing, start, tmp_path
):
    path, part = tmp_path / "members.csv", tmp_path / "members.csv.part"
    run = ("members", "--list-id", newsletter, "--csv", "--output", str(path))
    process = start(*run)
    failing.after_pages(3)
    failing.sandbox.wait(requests=len(failing.sandbox.requests()) + 1)
    process.send_signal(signal.SIGINT)
    _out, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert not path.exists()
    begun = len(part.read_text().splitlines()) - 1
    assert begun % 100 == 0 < begun
    assert f"{begun} rows are in {part}" in said
    failing.mend()
    done = site.run("get", *run, "--cursor", cursor_in(said))
    assert (done.returncode, done.stderr, part.exists()) == (0, "", False)
    with path.open(newline="") as file:
        assert sorted(one["email"] for one in csv.DictReader(file)) == ADDRESSES


def test_a_full_disk_leaves_whole_pages_to_go_on_from(site, newsletter, tmp_path):
    path, part = tmp_path / "members.csv", tmp_path / "members.csv.part"
    run = ("get", "members", "--list-id", newsletter, "--csv", "--output", str(path))
    # In blocks of 1,024 bytes; a page has about 90 of them.
    limited = ["bash", "-c", 'ulimit -f 250; exec "$@"', "bash", str(SCRIPT), *run]
    done = subprocess.run(
        limited, env=site.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Error: writing fails: File too large" in done.stderr
    assert (len(part.read_text().splitlines()) - 1) % 100 == 0
    completed = site.run(*run, "--cursor", cursor_in(done.stderr))
    assert (completed.returncode, completed.stderr) == (0, "")
    with path.open(newline="") as file:
        assert sorted(one["email"] for one in csv.DictReader(file)) == ADDRESSES


def test_get_shows_subscribers_exclusions_and_suppressed_people(site, sandbox, klaviyo):
    weekly, daily = sandbox.create_list("Weekly"), sandbox.create_list("Daily")
    klaviyo.consent("create", weekly, "ada@lovelace.dev", "eve@lovelace.dev", "bob@shop.io")
    klaviyo.consent("create", daily, "ada@lovelace.dev")
    klaviyo.consent("delete", weekly, "eve@lovelace.dev")
    klaviyo.consent("delete", None, "bob@shop.io")

    def emails(*arguments):
        return sorted(one["email"] for one in documents(site.run("get", *arguments, "--json")))

    assert emails("subscribers", "--list-id", weekly) == ["ada@lovelace.dev"]
    assert emails("subscribers", "--list-id", weekly, "--channel", "sms") == []
    assert emails("exclusions", "--list-name", "Weekly") == ["eve@lovelace.dev"]
    assert emails("suppressed", "--reason", "UNSUBSCRIBE") == ["bob@shop.io"]
    assert emails("suppressed", "--since", "2100-01-01") == []
    of = documents(site.run("get", "lists-of", "--email", "ada@lovelace.dev", "--json"))
    assert sorted(one["name"] for one in of) == ["Daily", "Weekly"]


def test_get_shows_one_profile_one_list_and_the_metrics(site, sandbox, klaviyo):
    klaviyo.event("Ordered", "ada@lovelace.dev")
    identity = site.run("get", "profile-id", "--email", "ada@lovelace.dev").stdout.strip()
    unknown = site.run("get", "profile-id", "--email", "nobody@shop.io")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    [document] = documents(site.run("get", "profile", "--email", "ada@lovelace.dev", "--json"))
    assert document["id"] == identity
    details = site.run("get", "profile", identity).stdout
    assert re.search(r"^email +ada@lovelace.dev$", details, re.MULTILINE)
    list_id = sandbox.create_list("Newsletter")
    klaviyo.members(list_id, 3)
    assert "profile_count   3" in site.run("get", "list", list_id, "--with-count").stdout
    assert "profile_count" not in site.run("get", "list", list_id).stdout
    assert [one["name"] for one in documents(site.run("get", "metrics", "--json"))] == ["Ordered"]


def test_a_bad_line_of_a_file_is_told_by_its_number_alone(site, tmp_path):
    addresses = tmp_path / "addresses"
    addresses.write_text("ada@lovelace.dev\n\nsecret\n")
    done = site.run("get", "profiles", "--emails-from", str(addresses))
    assert done.returncode == 2
    assert "--emails-from': line 3:" in done.stderr
    assert "secret" not in done.stderr


def test_get_shows_segments_their_members_and_the_numbers_of_a_metric(site, sandbox, klaviyo):
    for number in (1, 2, 3):
        email = f"p{number}@shop.io"
        at, currency = f"2026-02-0{number}T10:00:00Z", ("EUR", "USD", "EUR")[number - 1]
        klaviyo.event("Ordered", email, time=at, value=number, value_currency=currency)
    identity = site.run("get", "profile-id", "--email", "p1@shop.io").stdout.strip()
    segment = sandbox.create_segment("Buyers", identity)
    assert [one["id"] for one in documents(site.run("get", "segments", "--json"))] == [segment]
    for which in (("--segment-id", segment), ("--segment-name", "Buyers")):
        shown = documents(site.run("get", "members", *which, "--json"))
        assert [one["email"] for one in shown] == ["p1@shop.io"]
    assert re.search("profile_count +1", site.run("get", "segment", segment, "--with-count").stdout)
    of = ("get", "aggregate", "--metric", "Ordered")
    run = (*of, "--start", "2026-02-01", "--end", "2026-02-03")
    done = site.run(*run, "--measurement", "count", "--measurement", "sum_value", "--csv")
    header, *records = csv.reader(io.StringIO(done.stdout))
    assert header == ["date", "count", "sum_value"]
    assert [(date, float(count), float(value)) for date, count, value in records] == [
        ("2026-02-01T00:00:00Z", 1, 1),
        ("2026-02-02T00:00:00Z", 1, 2),
    ]
    [document] = documents(site.run(*run, "--json"))
    assert document["rows"][0]["measurements"] == {"count": [1.0, 1.0]}
    grouped = site.run(*run, "--by", "$value_currency", "--where", "$value_currency=EUR")
    assert grouped.stdout.splitlines()[0].split() == ["DATE", "$VALUE_CURRENCY", "COUNT"]
    assert " EUR " in grouped.stdout
    assert " USD " not in grouped.stdout


def test_what_klaviyo_adds_one_day_is_shown_as_it_came(site, sandbox, klaviyo):
    klaviyo.event("Ordered", "ada@lovelace.dev", n=7)
    sandbox.configure(unknown_fields=True)
    for verb in ("events", "profiles", "metrics"):
        [document] = documents(site.run("get", verb, "--json"))
        assert document["more"]
        [record] = csv.DictReader(io.StringIO(site.run("get", verb, "--csv").stdout))
        assert json.loads(record["more"]) == document["more"]
        assert len(site.run("get", verb).stdout.splitlines()) == 2
