"""Loads as a person runs them: killed, run twice, refused, from all kinds of sources."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest

from klaviyo_relay_worker.embedded import PrivateRedis

ORDERS = ("--as", "track", "--event", "Placed Order", "--value-column", "total")
COMMAND = (sys.executable, "-m", "klaviyo_relay_worker", "load")
MANY = 20_000


def csv_of(rows, first=0):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["email", "total", "order", "note"])
    for number in range(first, first + rows):
        writer.writerow([f"p{number}@shop.io", number, f"A-{number}", 'two\nlines, "quoted"'])
    return text.getvalue()


def orders_of(site, lane="events:bulk"):
    """The order numbers in a lane, with how often each is there."""
    entries = site.redis.xrange(site.settings.keys.lane("default", lane).stream)
    found = Counter()
    for _, fields in entries:
        command = json.loads(fields[b"e"])["command"]
        found[command.get("properties", {}).get("order")] += 1
    return found


def once(rows, first=0):
    return Counter(f"A-{number}" for number in range(first, first + rows))


@pytest.fixture
def write(tmp_path):
    def make(content, name="orders.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def summary_of(site, *arguments, **more):
    done = site.run("load", *map(str, arguments), "--json", **more)
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stdout)


def numbers(summary):
    return tuple(summary[name] for name in ("rows", "enqueued", "refused", "added"))


@pytest.mark.parametrize("seed", range(3))
def test_a_load_that_is_killed_goes_on_where_it_was_and_each_row_is_there_once(
    site, write, until, seed
):
    chance = random.Random(seed)
    content = csv_of(MANY)
    is_packed = seed % 2 == 1
    path = write(gzip.compress(content.encode(), 1) if is_packed else content, "orders.csv")
    stream = site.settings.keys.lane("default", "events:bulk").stream
    for _ in range(2):
        before = site.redis.xlen(stream)
        goal = min(MANY - 6_000, before + chance.randrange(1_000, MANY // 3))
        process = subprocess.Popen(
            [*COMMAND, str(path), *ORDERS], env=site.environment,
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        until(lambda goal=goal: site.redis.xlen(stream) >= goal)
        process.kill()
        process.communicate()
    if seed == 2:
        Path(f"{path}.checkpoint").unlink(missing_ok=True)
    landed = site.redis.xlen(stream)
    assert landed < MANY

    summary = summary_of(site, path, *ORDERS)

    assert numbers(summary) == (MANY, MANY, 0, MANY - landed)
    assert orders_of(site) == once(MANY)
    assert site.report()["lost"] == 0


def test_a_load_goes_on_at_its_checkpoint_and_not_at_the_first_row(site, write, until):
    path = write(csv_of(MANY))
    checkpoint = Path(f"{path}.checkpoint")
    with subprocess.Popen(
        [*COMMAND, str(path), *ORDERS], env=site.environment, stdin=subprocess.DEVNULL
    ) as process:
        until(lambda: checkpoint.exists() and json.loads(checkpoint.read_bytes())["marks"])
        process.kill()
    noted = json.loads(checkpoint.read_bytes())

    summary = summary_of(site, path, *ORDERS)

    assert summary["resumed_at"] == noted["position"]["row"] > 0
    assert noted["marks"] == {"default:events:bulk": summary["resumed_at"]}
    assert orders_of(site) == once(MANY)


def test_a_load_that_is_run_twice_adds_nothing_with_its_checkpoint_or_without(site, write):
    path = write(csv_of(100))
    assert numbers(summary_of(site, path, *ORDERS)) == (100, 100, 0, 100)
    again = summary_of(site, path, *ORDERS)
    assert (numbers(again), again["resumed_at"]) == ((100, 100, 0, 0), 100)
    Path(f"{path}.checkpoint").unlink()
    assert numbers(summary_of(site, path, *ORDERS)) == (100, 100, 0, 0)
    copy = write(csv_of(100), "copy.csv")
    assert numbers(summary_of(site, copy, *ORDERS)) == (100, 100, 0, 0)
    assert orders_of(site) == once(100)


def test_two_files_do_not_disturb_each_other(site, write):
    one, other = write(csv_of(100), "one.csv"), write(csv_of(50, first=100), "other.csv")
    assert summary_of(site, one, *ORDERS)["added"] == 100
    assert summary_of(site, other, *ORDERS)["added"] == 50
    assert orders_of(site) == once(150)


def test_a_file_that_was_written_anew_is_another_load(site, write):
    path = write(csv_of(100))
    before = path.stat()
    assert summary_of(site, path, *ORDERS)["added"] == 100
    write(csv_of(100).replace("A-", "B-"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size, "nothing but the content tells them apart"
    assert summary_of(site, path, *ORDERS)["added"] == 100


def test_a_file_that_changed_before_its_load_had_ended_is_said(site, write):
    path = write(csv_of(3) + "nobody,1,A-3,\n" * 2)
    stopped = site.run("load", str(path), *ORDERS, "--max-refused", "0")
    assert stopped.returncode == 1
    assert "--max-refused" in stopped.stderr
    write(csv_of(5))
    changed = site.run("load", str(path), *ORDERS)
    assert changed.returncode == 1
    assert "the file has changed since the checkpoint" in changed.stderr
    assert "new events to Klaviyo, unless --key-column" in changed.stderr
    assert summary_of(site, path, *ORDERS, "--restart")["added"] == 5


def test_a_load_with_too_many_refused_rows_goes_no_further_however_often_it_is_run(site, write):
    path = write(csv_of(0) + "nobody,1,A-x,\n" * 10 + csv_of(3_000).split("\n", 1)[1])
    said = []
    for _ in range(3):
        stopped = site.run("load", str(path), *ORDERS, "--max-refused", "5")
        assert stopped.returncode == 1
        said.append("stopped behind row 1,000: " in stopped.stderr)
    assert said == [True] * 3
    assert len(Path(f"{path}.rejects.ndjson").read_text().splitlines()) == 10


def test_a_checkpoint_that_cannot_be_written_is_said_before_the_first_row(site, write):
    arguments = (str(write(csv_of(5))), *ORDERS, "--checkpoint", "nowhere/at-all")
    done = site.run("load", *arguments)
    assert (done.returncode, "--checkpoint" in done.stderr) == (1, True)
    assert site.report()["accounts"] == {}


def test_redis_that_lost_the_load_gets_it_again(site, write):
    path = write(csv_of(100))
    assert summary_of(site, path, *ORDERS)["added"] == 100
    site.redis.flushall()
    again = site.run("load", str(path), *ORDERS, "--json")
    assert "Redis came back older" in again.stderr
    assert json.loads(again.stdout)["added"] == 100


def test_a_checkpoint_older_than_redis_remembers_is_not_guessed_about(site, write):
    path = write(csv_of(10))
    assert summary_of(site, path, *ORDERS)["added"] == 10
    checkpoint = Path(f"{path}.checkpoint")
    noted = json.loads(checkpoint.read_bytes())
    checkpoint.write_text(json.dumps({**noted, "at": noted["at"] - 30 * 86_400}))
    site.redis.flushall()
    refused = site.run("load", str(path), *ORDERS)
    assert refused.returncode == 1
    assert "--restart" in refused.stderr
    assert summary_of(site, path, *ORDERS, "--restart")["added"] == 10


def test_refused_rows_are_told_of_and_stop_nothing(site, write, tmp_path):
    path = write(
        "email,total,order\na@shop.io,5,A-0\nnobody,5,A-x\nb@shop.io,much,A-y\nb@shop.io,6,A-1\n"
    )
    done = site.run("load", str(path), *ORDERS)
    assert done.returncode == 3
    assert "2 rows refused" in done.stdout
    assert "nobody" not in done.stdout + done.stderr
    rejects = Path(f"{path}.rejects.ndjson")
    assert [json.loads(line) for line in rejects.read_text().splitlines()] == [
        {"line": 3, "field": "email", "reason": "must be one address of the form name@domain.tld"},
        {
            "line": 4, "field": "value",
            "reason": "must be a number such as 23.99, with nothing around it",
        },
    ]  # fmt: skip
    assert stat.S_IMODE(rejects.stat().st_mode) == 0o600
    assert orders_of(site) == once(2)
    assert site.run("load", str(path), *ORDERS).returncode == 3, "also when all is done already"
    assert len(rejects.read_text().splitlines()) == 2
    other = tmp_path / "mine.ndjson"
    arguments = (*ORDERS, "--rejects", str(other), "--rejects-with-rows", "--restart")
    assert site.run("load", str(path), *arguments).returncode == 3
    assert json.loads(other.read_text().splitlines()[0])["row"] == ["nobody", "5", "A-x"]


def test_rows_that_were_refused_for_their_encoding_arrive_once_it_is_said(site, write):
    path = write("email,first_name\nann@shop.io,Ann\nzoe@shop.io,Zoé\n".encode("cp1252"))
    refused = site.run("load", str(path), "--as", "identify")
    assert (refused.returncode, "1 rows refused" in refused.stdout) == (3, True)
    mended = summary_of(site, path, "--as", "identify", "--encoding", "cp1252")
    assert numbers(mended) == (2, 2, 0, 2)


def test_rejects_that_are_fed_again_are_not_written_over_meanwhile(site):
    command = [*COMMAND, "-", "--format", "ndjson", "--json", *ORDERS, "--rejects-with-rows"]

    def load(**given):
        done = subprocess.run(
            command, env=site.environment, cwd=site.directory, capture_output=True, timeout=60,
            check=False, **given,
        )  # fmt: skip
        return json.loads(done.stdout)

    bad = b"".join(b'{"email": "p%d at shop.io"}\n' % number for number in range(3_000))
    assert load(input=bad)["rejects"] == "load.rejects.ndjson"
    mend = "import json, sys\nfor line in sys.stdin: print(json.dumps(json.loads(line)['row']))"
    with (site.directory / "load.rejects.ndjson").open("rb") as rejects:
        mending = subprocess.Popen(
            [sys.executable, "-c", mend], stdin=rejects, stdout=subprocess.PIPE
        )
        with mending:
            again = load(stdin=mending.stdout)
    assert (again["refused"], again["rejects"]) == (3_000, "load.rejects-2.ndjson")


def test_what_is_no_checkpoint_is_not_written_over(site, write, tmp_path):
    path, notes = write(csv_of(3)), tmp_path / "notes"
    notes.write_text("mine")
    done = site.run("load", str(path), *ORDERS, "--checkpoint", str(notes), "--restart")
    assert (done.returncode, "is no checkpoint" in done.stderr) == (1, True)
    assert notes.read_text() == "mine"
    done = site.run("load", str(path), *ORDERS, "--rejects", str(path))
    assert (done.returncode, "is the file that is to be loaded" in done.stderr) == (2, True)
    assert path.read_bytes() == csv_of(3).encode()


def test_all_rows_before_the_end_of_a_packed_file_that_was_cut_off_are_loaded(site, write):
    chance = random.Random(1)
    rows = "".join(f"p{number}@shop.io,1,{chance.random()}\n" for number in range(3_500))
    packed = gzip.compress(f"email,total,random\n{rows}".encode())
    cut = packed[: len(packed) * 2 // 3]
    whole = zlib.decompressobj(wbits=31).decompress(cut).count(b"\n") - 1
    done = site.run("load", str(write(cut, "orders.csv.gz")), *ORDERS)
    assert (done.returncode, "damaged or cut off" in done.stderr) == (1, True)
    assert site.lane("events:bulk")["accepted"] == whole > 2_000


def test_a_forgotten_quotation_mark_is_one_refused_row_of_a_load(site, write):
    path = write(csv_of(10) + 'stray@shop.io,1,A-x,"\n' + csv_of(3_000, 10).split("\n", 1)[1])
    done = site.run("load", str(path), *ORDERS, "--rejects-with-rows")
    assert done.returncode == 3
    [refused] = map(json.loads, Path(f"{path}.rejects.ndjson").read_text().splitlines())
    assert (refused["line"], refused["row"]) == (22, 'stray@shop.io,1,A-x,"')
    assert orders_of(site) == once(3_010)


def test_a_byte_order_mark_may_be_said_as_an_encoding(site, write):
    path = write(csv_of(2).encode("utf-8-sig"))
    assert numbers(summary_of(site, path, *ORDERS, "--encoding", "utf-8-sig")) == (2, 2, 0, 2)
    assert numbers(summary_of(site, path, *ORDERS)) == (2, 2, 0, 0), "it is the same load"


def test_a_dry_run_shows_commands_and_refusals_and_leaves_nothing(site, write, tmp_path):
    path = write(csv_of(8) + "nobody,1,A-9,\n")
    before = sorted(tmp_path.iterdir())
    done = site.run(
        "load", str(path), *ORDERS, "--dry-run", "2",
        KLAVIYO_RELAY_REDIS_URL="redis://127.0.0.1:1/0",
    )  # fmt: skip
    assert done.returncode == 3
    *shown, refused = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["email"] for one in shown] == ["p0@shop.io", "p1@shop.io"]
    assert (refused["line"], refused["field"]) == (18, "email")
    assert "nothing was written" in done.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert len(site.run("load", str(path), *ORDERS, "--dry-run").stdout.splitlines()) == 6


@pytest.mark.parametrize("is_packed", [False, True])
def test_standard_input_is_resumable_under_a_name(site, write, is_packed):
    content = csv_of(100).encode()
    command = [*COMMAND, "-", "--format", "csv", *ORDERS, "--source", "monday", "--json"]

    def run(data):
        data = gzip.compress(data) if is_packed else data
        done = subprocess.run(
            command, input=data, env=site.environment, cwd=site.directory, capture_output=True,
            timeout=60, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)["added"]

    assert run(csv_of(60).encode()) == 60
    assert run(content) == 40
    assert run(content) == 0
    assert orders_of(site) == once(100)


def test_standard_input_without_a_name_is_a_new_load_each_time(site):
    command = [*COMMAND, "-", "--format", "ndjson", "--json"]
    rows = b'{"verb": "suppress", "email": "a@shop.io"}\n'
    for _ in range(2):
        done = subprocess.run(
            command, input=rows, env=site.environment, capture_output=True, timeout=60, check=True
        )
        assert json.loads(done.stdout)["added"] == 1
    assert site.lane("consent")["accepted"] == 2


def test_a_query_is_loaded_row_by_row_and_resumed_under_a_name(site, tmp_path):
    database = tmp_path / "shop.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER, mail TEXT, total NUMERIC, at TEXT)")
        rows = [(number, f"p{number}@shop.io", 9.5, "2026-01-31 12:00") for number in range(2_500)]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)
    connection.close()
    query = "SELECT mail, total, at, 'A-' || id AS \"order\" FROM orders ORDER BY id"
    arguments = (
        f"sqlite:///{database}", "--query", query, *ORDERS, "--email-column", "mail",
        "--time-column", "at", "--time-zone", "UTC", "--source", "orders",
    )  # fmt: skip
    assert numbers(summary_of(site, *arguments)) == (2_500, 2_500, 0, 2_500)
    assert numbers(summary_of(site, *arguments)) == (2_500, 2_500, 0, 0)
    assert orders_of(site) == once(2_500)
    unordered = site.run("load", *arguments[:2], "SELECT mail FROM orders", *arguments[3:])
    assert (unordered.returncode, "ORDER BY" in unordered.stderr) == (2, True)
    failed = site.run("load", *arguments[:2], "SELECT * FROM no_such ORDER BY 1", *arguments[3:])
    assert (failed.returncode, "no such table" in failed.stderr) == (1, True)


def test_parquet_is_loaded_with_its_types_and_goes_on_within_a_row_group(site, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = 5_300
    table = pa.table(
        {
            "email": [f"p{number}@shop.io" if number != 4_000 else None for number in range(rows)],
            "total": [number / 2 for number in range(rows)],
            "order": [f"A-{number}" for number in range(rows)],
            "time": pa.array([1_769_860_800_123_456_789] * rows, pa.timestamp("ns", tz="UTC")),
            "tags": [["a", "b"]] * rows,
        }
    )
    path = tmp_path / "orders.parquet"
    parquet.write_table(table, path, row_group_size=1_500)
    stopped = site.run("load", str(path), *ORDERS, "--max-refused", "0")
    assert (stopped.returncode, "behind row 5,000" in stopped.stderr) == (1, True), stopped.stderr
    summary = summary_of(site, path, *ORDERS)
    assert (numbers(summary), summary["resumed_at"]) == ((rows, rows - 1, 1, rows - 5_000), 5_000)
    assert orders_of(site) == once(rows) - Counter(["A-4000"])
    [(_, fields)] = site.redis.xrange(
        site.settings.keys.lane("default", "events:bulk").stream, count=1
    )
    command = json.loads(fields[b"e"])["command"]
    assert command["time"] == "2026-01-31T12:00:00.123456Z"
    assert command["properties"]["tags"] == ["a", "b"]


def test_rows_wait_for_a_redis_that_is_away(site_of, write, until):
    path = write(csv_of(100))
    with PrivateRedis() as server:
        server.stop()
        site = site_of(server.url)
        assert site.run("load", str(path), *ORDERS, "--timeout", "0.5").returncode == 1
        process = subprocess.Popen(
            [*COMMAND, str(path), *ORDERS], env=site.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert "waiting for Redis" in process.stderr.readline()
        server.start()
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "100 new to Redis" in said


def test_rows_wait_for_room_in_a_full_lane(site, write, until):
    path = write(csv_of(5_000))
    stream = site.settings.keys.lane("default", "events:bulk").stream
    full = {"KLAVIYO_RELAY_LANE_MAX_BYTES": "1000"}
    stopped = site.run("load", str(path), *ORDERS, "--timeout", "0.2", **full)
    assert stopped.returncode == 1
    assert "as many bytes as it may" in stopped.stderr
    landed = site.redis.xlen(stream)
    assert 0 < landed < 5_000
    noted = json.loads(Path(f"{path}.checkpoint").read_bytes())
    # It may be behind by what landed of the last rows: Redis's mark knows of those.
    assert (noted["position"]["row"] <= landed, noted["is_complete"]) == (True, False)
    assert summary_of(site, path, *ORDERS)["added"] == 5_000 - landed
    assert orders_of(site) == once(5_000)


def test_a_load_is_delivered(site, sandbox, write):
    path = write(csv_of(1_200))
    assert summary_of(site, path, *ORDERS)["added"] == 1_200
    site.worker()
    site.wait_for_rest()
    assert site.lane("events:bulk")["delivered"] == 1_200


def test_a_key_that_comes_twice_in_a_file_is_one_event_and_the_numbers_add_up(site, sandbox, write):
    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    rows = "".join(f"{who}@shop.io,1,A-{who}\n" for who in ("poison", "a", "poison", "a"))
    path = write(f"email,total,order\n{rows}")
    assert summary_of(site, path, *ORDERS, "--key-column", "order")["added"] == 4
    site.worker()
    site.wait_for_rest()
    lane = site.lane("events:bulk")
    assert lane["delivered"] + lane["dead"] + lane["dropped"] == 4
    assert (lane["dead"], lane["lost"], lane["surplus"]) == (1, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.csv", *ORDERS), "cannot read nowhere.csv"),
        (("-", *ORDERS), "--format"),
        (("orders.csv", *ORDERS, "--source", "x"), "--source is for"),
        (("orders.csv", *ORDERS, "--query", "SELECT 1"), "--query needs"),
        (("orders.csv", *ORDERS, "--email-column", "mail"), "--email-column: there is no column"),
        (("orders.csv", *ORDERS, "--account", "My Shop"), "--account"),
        (("orders.csv", *ORDERS, "--delimiter", "--"), "--delimiter"),
        (("orders.csv", *ORDERS, "--encoding", "utf-16"), "--encoding"),
        (("orders.csv", *ORDERS, "--encoding", "idna"), "--encoding"),
        (("orders.csv", *ORDERS, "--encoding", "utf-7"), "--encoding"),
        (("orders.csv", *ORDERS, "--encoding", "unicode_escape"), "--encoding"),
        (("orders.csv", *ORDERS, "--set", "value"), "--set value"),
        (("sqlite:///x.db", *ORDERS), "--query"),
        (("nosuch://x", "--query", "SELECT 1", *ORDERS), "database"),
    ],
)
def test_wrong_usage_exits_2_and_names_the_flag(site, write, monkeypatch, arguments, said):
    monkeypatch.chdir(write(csv_of(1)).parent)
    done = site.run("load", *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_memory_does_not_grow_with_the_file(site, write):
    def peak(rows):
        path = write(csv_of(rows), f"{rows}.csv")
        process = subprocess.Popen(
            [*COMMAND, str(path), *ORDERS], env=site.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    small, large = peak(5_000), peak(60_000)
    assert large < small * 1.1
