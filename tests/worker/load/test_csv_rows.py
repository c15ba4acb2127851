"""Rows of CSV: resumed at any row, broken ones told, headers that are none."""

from __future__ import annotations

import csv
import gzip
import io
import random
import tracemalloc

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


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("", "not closed, or a cell is larger"),
        ('k5,"fine"\n', "',' expected after '\"'"),
        ('k5,v5"\nk6,v6\n', "has 2 cells"),
        ('k5,"",v5\n', "not closed, or a cell is larger"),
    ],
    ids=["end of the file", "another cell in quotation marks", "another stray one", "empty cells"],
)
def test_a_stray_quotation_mark_costs_its_own_line_alone(ending, said):
    good = "".join(f"k{number},v{number},\n" for number in range(3))
    content = f'a,b,c\n{good}k3,"v3,\n{good}{ending}'.encode()
    rows = all_rows(reader_of(content, CsvRows))
    line, stray = rows[3]
    assert (line, stray.field, stray.text) == (5, "csv", 'k3,"v3,')
    assert said in stray.reason
    assert [row[0] for _, row in rows[:3] + rows[4:7]] == ["k0", "k1", "k2"] * 2
    assert [line for line, _ in rows] == list(range(2, content.count(b"\n") + 1))


def test_a_stray_quotation_mark_takes_in_no_more_than_a_cell_may_hold_and_gives_it_back():
    lines = [f"k{number},{'v' * 50}" for number in range(20_000)]
    lines[10] = 'k10,"'
    content = "\n".join(["a,b", *lines, ""]).encode()
    rows = all_rows(reader_of(content, CsvRows), 1_000)
    assert [line for line, _ in rows] == list(range(2, 20_002))
    [(line, stray)] = [(line, row) for line, row in rows if type(row) is Broken]
    assert line == 12
    assert "up to line 2,3" in stray.reason
    assert "is read as rows of its own" in stray.reason


@pytest.mark.parametrize("seed", range(10))
def test_strays_are_numbered_alike_from_any_position(seed):
    chance = random.Random(seed)
    alphabet = ['"', '""', ",", "\n", "x", '"x"', ',"', '",', "y,z\n", "\r\n", '"a\nb"']
    content = ("a,b\n" + "".join(chance.choices(alphabet, k=400))).encode()
    whole = all_rows(reader_of(content, CsvRows))
    for most in (1, 2, 5, 17, 90):
        reader = reader_of(content, CsvRows)
        rows = []
        while True:
            again = reader_of(content, CsvRows)
            again.seek(reader.position)
            reader = again
            if not (found := reader.read(most)):
                break
            rows += found
        assert rows == whole
    told = "".join(row.text if type(row) is Broken else "".join(row) for _, row in whole)
    assert told.count("x") == content.count(b"x"), "every line is in a row"


def test_a_row_without_an_end_is_given_up_before_it_fills_the_memory():
    line = b'q","' + b"x" * 1_000 + b"\n"
    content = b"a,b\n1,2\n" + line * 4_000 + b"3,4\n"
    tracemalloc.start()
    reader = reader_of(content, CsvRows)
    rows = reader.read(5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [type(row) for _, row in rows] == [list, *[Broken] * 4]
    assert [line for line, _ in rows] == [2, 3, 4, 5, 6]
    assert peak < 4 * 2**21


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
        ("email,x\rada@shop.io,1\r", "ends as on old Macs"),
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
    first_in_marks = desk.commands('\ufeff"Customer, email","email"\n1,a@shop.io\n')
    assert first_in_marks == [{"email": "a@shop.io", "properties": {"Customer, email": "1"}}]
    semicolons = desk.commands('\ufeff"email";"x y"\na@shop.io;2\n', delimiter=";")
    assert semicolons == [{"email": "a@shop.io", "properties": {"x y": "2"}}]
    tabs = desk.commands("email\tx\na@shop.io\t2\n", file="orders.tsv")
    assert tabs == [{"email": "a@shop.io", "properties": {"x": "2"}}]
