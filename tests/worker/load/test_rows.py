import csv
import gzip
import io
import random

import pytest

from klaviyo_relay_worker.load.csv_rows import CsvRows
from klaviyo_relay_worker.load.errors import LoadError
from klaviyo_relay_worker.load.mapping import Mapping
from klaviyo_relay_worker.load.ndjson_rows import NdjsonRows
from klaviyo_relay_worker.load.rows import LINE_MOST, Broken, Bytes


def reader_of(content, kind=CsvRows):
    return kind(Bytes(io.BufferedReader(io.BytesIO(content)), len(content)))


def all_rows(reader, most=7):
    found = []
    while rows := reader.read(most):
        found += rows
    return found


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
    whole = all_rows(reader_of(pack(content)))
    assert [row[0] for _, row in whole] == [str(number) for number in range(50)]
    for most in (1, 3, 49):
        first = reader_of(pack(content))
        before = first.read(most)
        second = reader_of(pack(content))
        second.seek(first.position)
        assert before + all_rows(second) == whole
        assert second.position.row == 50


def test_the_line_of_a_row_is_where_it_begins():
    reader = reader_of(b'a\n"x\ny"\n\nlast\n')
    assert all_rows(reader) == [(2, ["x\ny"]), (5, ["last"])]


def test_broken_csv_is_one_row_and_the_next_one_is_read():
    rows = all_rows(reader_of(b'a,b\n1,2\n"x"y,3\n4,5\n'))
    assert [type(row) for _, row in rows] == [list, Broken, list]
    assert rows[2] == (4, ["4", "5"])


def test_a_quotation_mark_that_is_never_closed_is_said():
    [(line, row)] = all_rows(reader_of(b'a,b\n"1,2\n3,4\n'))
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


def test_ndjson_goes_on_from_any_position():
    content = b'{"a": 1}\n\n{"a": 2}\nnonsense\n[1]\n{"a": 3}'
    whole = all_rows(reader_of(content, NdjsonRows))
    assert [line for line, _ in whole] == [1, 3, 4, 5, 6]
    assert [type(row) for _, row in whole] == [dict, dict, Broken, Broken, dict]
    first = reader_of(content, NdjsonRows)
    before = first.read(3)
    second = reader_of(content, NdjsonRows)
    second.seek(first.position)
    assert before + all_rows(second) == whole


def test_a_line_without_end_is_one_broken_row():
    content = b'{"a": "' + b"x" * (2 * LINE_MOST) + b'"}\n{"a": 3}\n'
    rows = all_rows(reader_of(content, NdjsonRows))
    assert [(line, type(row)) for line, row in rows] == [(1, Broken), (2, dict)]


def test_gzip_that_is_cut_off_is_said():
    packed = gzip.compress(random.Random(1).randbytes(200_000).hex().encode())
    reader = reader_of(packed[: len(packed) // 2], NdjsonRows)
    with pytest.raises(LoadError, match="damaged or cut off"):
        all_rows(reader)
