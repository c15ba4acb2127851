"""`klaviyo-relay get …` in this process: how it shows things, and what it says of bad input."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from klaviyo_relay_worker.cli import commands
from klaviyo_relay_worker.cli.cells import fitted, harmless, text_of, width_of
from klaviyo_relay_worker.cli.get.columns import EVENTS, LISTS, MEMBERS, METRICS, PROFILES, SEGMENTS
from klaviyo_relay_worker.cli.get.formats import Csv, Details, Ndjson, Table
from klaviyo_relay_worker.cli.get.outlet import PartFile
from klaviyo_relay_worker.cli.get.progress import Progress
from klaviyo_relay_worker.klaviyo.resources import (
    Event,
    MailingList,
    Metric,
    Profile,
    Segment,
)


@pytest.fixture
def typed(monkeypatch, capsys, redis_url, sandbox):
    """Runs the command line; gives its exit code, standard output and standard error."""
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", redis_url)
    monkeypatch.setenv("KLAVIYO_API_URL", sandbox.url)
    monkeypatch.setenv("KLAVIYO_API_KEY", "pk_of_a_test")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["klaviyo-relay", "get", *arguments])
        with pytest.raises(SystemExit) as ended:
            commands.run()
        out, err = capsys.readouterr()
        return ended.value.code, out, " ".join(err.split())

    return run


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
        (("profile",), "ID | --email | --phone-number | --external-id: exactly one", 2),
        (("profiles", "--email", "a@b.io", "--email", "c"), "--email number 2: must be", 2),
        (("profiles", "--emails-from", "/dev/null"), "'--emails-from': there is no address", 2),
        (("profiles", "--email", "a@b.io", "--cursor", "c"), "--cursor: belongs to a read", 2),
        (("list", "Newsletter"), "ID: must be six letters", 2),
        (("list", "ABCDEF"), "ID: Klaviyo knows nothing by this id", 1),
        (("members", "--list-id", "ABCDEF"), "--list-id: Klaviyo knows nothing by this id", 1),
        (("members", "--list-name", "Twice"), "2 lists share this name; give --list-id, one of", 2),
        (("members", "--list-name", "None"), "--list-name: Klaviyo has no list", 2),
        (("members",), "--list-id | --list-name | --segment-id | --segment-name: exactly one", 2),
        (("members", "--segment-name", "None", "--list-id", "ABCDEF"), "exactly one is needed", 2),
        (("suppressed", "--since", "1767225600"), "--since: must be a time", 2),
        (("profiles", "--updated-since", "soon"), "--updated-since: must be a time", 2),
        (
            ("aggregate", "--metric", "M", "--start", "2026-02-01", "--end", "2026-01-01"),
            "--end: must be later than start",
            2,
        ),
        (
            ("aggregate", "--start", "2026-01-01", "--end", "2026-02-01", "--where", "URL"),
            "'--where': must be DIMENSION=VALUE",
            2,
        ),
    ],
)
def test_bad_input_is_said_in_options(typed, sandbox, arguments, said, code):
    sandbox.create_list("Twice")
    sandbox.create_list("Twice")
    found, out, err = typed(*arguments)
    assert said in err
    assert (found, out) == (code, "")


@pytest.mark.parametrize("name", sorted(commands.get.commands))
def test_the_help_of_each_verb_has_an_example_on_a_line_of_its_own(typed, name):
    code, out, _err = typed(name, "--help")
    assert code == 0
    assert f"\n    klaviyo-relay get {name} " in out or f"\n    klaviyo-relay get {name}\n" in out


TIME = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_text_is_the_same_every_time():
    berlin = timezone(timedelta(hours=1))
    shown = [text_of(one) for one in (None, "a", 1.0, True, {"a": [None]}, TIME)]
    assert shown == ["", "a", "1.0", "true", '{"a":[null]}', "2026-02-03T04:05:06.000007Z"]
    assert text_of(TIME, is_for_eyes=True) == "2026-02-03 04:05:06Z"
    assert text_of(TIME.replace(microsecond=0, tzinfo=berlin)) == "2026-02-03T04:05:06+01:00"


@pytest.mark.parametrize(
    "foreign",
    [
        "\x1b[2J",
        "a\nb",
        "a\rb",
        "\x9b31m",
        "\u202eevil",
        "\u2028",
        "tab\there",
        "\x7f",
        "\U000e0001",
    ],
)
def test_no_foreign_text_has_power_over_a_terminal(foreign):
    assert harmless(foreign).isprintable()
    table = Table(LISTS.table, 80).page([MailingList(id="A", name=foreign)])
    assert len(table.splitlines()) == 2
    assert table.replace("\n", "").isprintable()
    document = Ndjson().page([MailingList(id="A", name=foreign)])
    assert document.rstrip("\n").isprintable()
    assert msgspec.json.decode(document)["name"] == foreign
    shown = Csv(LISTS.csv, has_header=False, is_for_eyes=True).page(
        [MailingList(id="A", name=foreign)]
    )
    assert shown.replace("\n", "").isprintable()


def test_csv_in_a_file_is_what_klaviyo_sent():
    name = '=1+1,"\x1b\n'
    text = Csv(LISTS.csv, has_header=True, is_for_eyes=False).page([MailingList(id="A", name=name)])
    [record] = csv.DictReader(io.StringIO(text, newline=""))
    assert record["name"] == name


@pytest.mark.parametrize("text", ["", "plain", "Žižek", "e\u0301" * 9, "長い名前の顧客", "a長b長c"])
@pytest.mark.parametrize("width", [1, 2, 5, 8, 40])
def test_a_cell_has_just_its_width(text, width):
    assert width_of(fitted(text, width)) == width


def test_a_table_keeps_the_widths_of_its_first_page():
    table = Table(LISTS.table, None)
    assert table.page([]) == ""
    first = table.page([MailingList(id="A", name="long enough"), MailingList(id="B", name="b")])
    assert first.splitlines()[0].split() == [
        "ID",
        "NAME",
        "OPT_IN_PROCESS",
        "CREATED",
    ]
    second = table.page([MailingList(id="C", name="c", created=TIME)])
    [line] = second.splitlines()
    assert line.index("2026") == first.splitlines()[0].index("CREATED")
    long = table.page([MailingList(id="D", name="much longer than the first ones")])
    assert "much longer than the first ones" in long


@pytest.mark.parametrize("width", [20, 40, 79, 200])
def test_no_line_is_wider_than_the_terminal(width):
    table = Table(EVENTS.table, width)
    event = Event(
        id="1",
        datetime=TIME,
        metric="長" * 90,
        profile_id="P" * 26,
        event_properties={"a": "b" * 99},
    )
    lines = table.page([event]).splitlines() + table.page([event]).splitlines()
    assert max(map(width_of, lines)) <= width
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (
            PROFILES,
            Profile(id="1", subscriptions={"email": {"marketing": {"consent": "SUBSCRIBED"}}}),
        ),
        (MEMBERS, Profile(id="1", more={"new": 1})),
        (EVENTS, Event(id="1")),
        (METRICS, Metric(id="1", integration={"name": "API"})),
        (LISTS, MailingList(id="1", more={"profile_count": "of another type"})),
        (SEGMENTS, Segment(id="1")),
    ],
    ids=["profiles", "members", "events", "metrics", "lists", "segments"],
)
def test_all_kinds_can_be_shown_with_hardly_anything_known(kind, item):
    [record] = csv.DictReader(
        io.StringIO(Csv(kind.csv, has_header=True, is_for_eyes=False).page([item]))
    )
    assert record["id"] == "1"
    assert json.loads(record["more"]) == item.more
    assert Table(kind.table, 80).page([item]).splitlines()[1].strip()
    assert "id" in Details(kind.csv, is_for_eyes=True).page([item]).split()
    for one in item.__struct_fields__:
        assert one in [column.name for column in kind.csv] or one == "timestamp"


def test_a_part_that_is_given_up_keeps_whole_pages_only(tmp_path):
    path = tmp_path / "out"
    path.write_text("older")
    for text, goes_on in (("one\n", False), ("two\n", True)):
        outlet = PartFile(path, goes_on=goes_on)
        outlet.write(text)
        outlet._file.write(b"half a pa")
        outlet.__exit__(KeyboardInterrupt)
    assert path.read_text() == "older"
    with PartFile(path, goes_on=True) as outlet:
        assert outlet.has_begun
        outlet.write("three\n")
    assert path.read_text() == "one\ntwo\nthree\n"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_file_of_addresses_that_is_no_text_is_bad_input(typed, tmp_path):
    (tmp_path / "addresses").write_bytes(b"ada@lovelace.dev\n\xff@shop.io\n")
    code, _out, err = typed("profiles", "--emails-from", str(tmp_path / "addresses"))
    assert code == 2
    assert "line 2:" in err


def test_a_run_that_reads_nothing_leaves_an_older_part_alone(tmp_path):
    outlet = PartFile(tmp_path / "out", goes_on=False)
    outlet.part.write_text("of an earlier run\n")
    with pytest.raises(ValueError, match="bad input"), outlet:
        raise ValueError("bad input")
    assert outlet.part.read_text() == "of an earlier run\n"


def test_a_file_of_nothing_is_there_and_empty(tmp_path):
    with PartFile(tmp_path / "out", goes_on=False):
        pass
    assert (tmp_path / "out").read_text() == ""


def test_progress_says_rows_and_their_speed_and_leaves_no_trace(capsys):
    ticks = iter([0.0, 2.0, 4.0])
    with Progress(is_shown=True, clock=lambda: next(ticks)) as progress:
        progress.add(1_000)
        progress.add(1_000)
    # What erases the line is taken out here, where no terminal is.
    assert capsys.readouterr().err == "\r1,000 rows, 500/s\r2,000 rows, 500/s\r"
    with Progress(is_shown=False) as silent:
        silent.add(1)
    assert capsys.readouterr().err == ""
