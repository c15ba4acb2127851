"""The formats: tables that fit the terminal, CSV and JSON that lose nothing."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import msgspec
import pytest

from klaviyo_relay_worker.cli.cells import width_of
from klaviyo_relay_worker.cli.get.columns import EVENTS, LISTS
from klaviyo_relay_worker.cli.get.formats import Csv, Ndjson, Table
from klaviyo_relay_worker.cli.plain_text import plain
from klaviyo_relay_worker.klaviyo.resources import (
    Event,
    MailingList,
)

TIME = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)


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
    assert plain(foreign).isprintable()
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


@pytest.mark.parametrize("width", [None, 20])
def test_a_table_whose_pages_are_empty_ends_with_its_header_alone(width):
    table = Table(LISTS.table, width)
    assert table.page([]) == ""
    header = table.end()
    assert header.split()[:2] == ["ID", "NAME"]
    assert width is None or width_of(header.rstrip("\n")) <= width


def test_a_table_with_rows_has_nothing_to_say_at_its_end():
    table = Table(LISTS.table, None)
    table.page([MailingList(id="A", name="a")])
    assert table.end() == ""


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
