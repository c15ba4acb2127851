"""Rows of CSV: resumed at any row, broken ones told, headers that are none."""

from __future__ import annotations

import csv
import gzip
import io
import random

import pytest

from klaviyo_relay_worker.load.csv_rows import CsvRows
from klaviyo_relay_worker.load.mapping import Mapping
from klaviyo_relay_worker.load.rows import Broken
from rows_in_memory import all_rows, reader_of


def awkward_csv(seed):
    chance = random.Random(seed)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=chance.choice(["\n", "\r\n"]))
    writer.writerow(["a", "b"])
    for number in range(50):
        writer.writerow([number, chance.choice(['x\ny"z', "", "ü,ö", "a\r\nb", "plain"])])
        if chance.random() < 0.2:
            text.write("\n")
    return text.getvalue().encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("seed", range(5))
def test_csv_goes_on_from_any_position_as_if_it_had_not_stopped(seed, pack):
    content = awkward_csv(seed)
    whole = all_rows(reader_of(pack(content), CsvRows))
    assert [row[0] for _, row in whole] == [str(number) for number in range(50)]
    for most in (1, 3, 49):
        first = reader_of(pack(content), CsvRows)
        before = first.read(most)
        second = reader_of(pack(content), CsvRows)
        second.seek(first.position)
        assert before + all_rows(second) == whole
        assert second.position.row == 50


def test_the_line_of_a_row_is_where_it_begins():
    reader = reader_of(b'a\n"x\ny"\n\nlast\n', CsvRows)
    assert all_rows(reader) == [(2, ["x\ny"]), (5, ["last"])]


def test_broken_csv_is_one_row_and_the_next_one_is_read():
    rows = all_rows(reader_of(b'a,b\n1,2\n"x"y,3\n4,5\n', CsvRows))
    assert [type(row) for _, row in rows] == [list, Broken, list]
    assert rows[2] == (4, ["4", "5"])


def test_a_quotation_mark_that_is_never_closed_is_said():
    [(line, row)] = all_rows(reader_of(b'a,b\n"1,2\n3,4\n', CsvRows))
    assert line == 2
    assert "not closed" in row.reason


def test_rows_of_another_width_are_refused(desk):
    refused = desk.refusals("email,x\na@shop.io\nb@shop.io,1\nc@shop.io,1,2\n")
    assert [(line, field) for line, field, _ in refused] == [(2, "csv"), (4, "csv")]


def test_cells_of_another_encoding_are_refused_and_read_with_encoding(desk):
    content = "email,city\na@shop.io,Köln\nb@shop.io,Ulm\n".encode("cp1252")
    [(line, field, reason)] = desk.refusals(content)
    assert (line, field, "--encoding" in reason) == (2, "properties.city", True)
    assert desk.refusals(content, encoding="cp1252") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no header"),
        ("email,email\n", "2 times"),
        ("email,\n", "no name for column 2"),
        ("email;value\n", "--delimiter ';'"),
        ("email\tvalue\n", "--delimiter tab"),
    ],
)
def test_a_header_that_is_none_is_said(faults_of, content, said):
    found = "\n".join(faults_of(content, Mapping(verb="suppress")))
    assert said in found


def test_a_byte_order_mark_and_other_delimiters_are_no_matter(desk):
    mapping = Mapping(verb="suppress")
    assert desk.commands("\ufeffemail\na@shop.io\n", mapping) == [{"email": "a@shop.io"}]
    semicolons = desk.commands('\ufeff"email";"x y"\na@shop.io;2\n', delimiter=";")
    assert semicolons == [{"email": "a@shop.io", "properties": {"x y": "2"}}]
    tabs = desk.commands("email\tx\na@shop.io\t2\n", file="orders.tsv")
    assert tabs == [{"email": "a@shop.io", "properties": {"x": "2"}}]
