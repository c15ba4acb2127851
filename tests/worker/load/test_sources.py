"""Sources: what a name says that a file is, and words that do not fit together."""

from __future__ import annotations

import gzip
import os
import threading

import pytest

from klaviyo_relay_worker.load.csv_rows import CsvRows
from klaviyo_relay_worker.load.errors import LoadError, UsageFaultsError
from klaviyo_relay_worker.load.ndjson_rows import NdjsonRows
from klaviyo_relay_worker.load.sources import Where, open_source
from rows_in_memory import all_rows


@pytest.fixture
def opened():
    """Opens a source; closed after the test."""
    sources = []

    def open_(target, **more):
        sources.append(open_source(Where(target=str(target), **more), lambda _text: None))
        return sources[-1]

    yield open_
    for source in sources:
        source.reader.close()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", b"x,y\n1,2\n", CsvRows),
        ("a.tsv", b"x\ty\n1\t2\n", CsvRows),
        ("a.CSV", b"x,y\n1,2\n", CsvRows),
        ("a.TSV", b"x\ty\n1\t2\n", CsvRows),
        ("a.csv.GZ", gzip.compress(b"x,y\n1,2\n"), CsvRows),
        ("a.json", b'{"x": "1", "y": "2"}\n', NdjsonRows),
        ("a.jsonl", b'{"x": "1", "y": "2"}\n', NdjsonRows),
        ("a.ndjson.gz", gzip.compress(b'{"x": "1", "y": "2"}\n'), NdjsonRows),
        ("a.csv.gz", gzip.compress(b"x,y\n1,2\n"), CsvRows),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_name_says_what_a_file_is(opened, tmp_path, name, content, kind):
    (tmp_path / name).write_bytes(content)
    source = opened(tmp_path / name)
    assert type(source.reader) is kind
    [(_, row)] = all_rows(source.reader)
    assert row in (["1", "2"], {"x": "1", "y": "2"})


def test_the_format_is_said_where_the_name_does_not_say_it(opened, tmp_path):
    (tmp_path / "orders.txt").write_bytes(b"x\n1\n")
    with pytest.raises(UsageFaultsError, match=r"--format csv\|ndjson\|parquet"):
        opened(tmp_path / "orders.txt")
    assert type(opened(tmp_path / "orders.txt", format="csv").reader) is CsvRows


def test_a_file_is_known_again_and_a_stream_by_its_name_alone(opened, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x\n1\n")
    first = opened(tmp_path / "a.csv")
    first.reader.close()
    assert opened(tmp_path / "a.csv").content == first.content
    contents = []
    for name in ("nightly", "nightly", None, None):
        pipe = tmp_path / f"pipe{len(contents)}.csv"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=[b"x\n1\n"])
        writer.start()
        contents.append(opened(pipe, name=name).content)
        writer.join(10)
    assert contents[0] == contents[1]
    assert len(set(contents)) == 3


def test_a_file_that_is_written_to_meanwhile_is_said(opened, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"x\n1\n")
    source = opened(path)
    source.check_unchanged()
    with path.open("ab") as more:
        more.write(b"2\n")
    with pytest.raises(LoadError, match="new events to Klaviyo, unless --key-column"):
        source.check_unchanged()


@pytest.fixture
def _here(tmp_path, monkeypatch):
    """Relative names are of the test's own directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        ("nowhere.csv", {}, "cannot read nowhere.csv: No such file"),
        ("a.csv", {"query": "SELECT 1"}, "--query needs a database URL"),
        ("a.csv", {"name": "x"}, "--source is for standard input and queries"),
        ("empty.parquet", {}, "empty.parquet is empty"),
        ("a.csv.zst", {}, "packed with zstd: unpack it first"),
        ("sqlite:///x.db", {}, "a database needs --query"),
        ("sqlite:///x.db", {"query": "SELECT 1", "name": "x"}, "--source needs ORDER BY"),
    ],
)
@pytest.mark.usefixtures("_here")
def test_words_that_do_not_fit_together_are_wrong_usage(opened, tmp_path, target, more, said):
    (tmp_path / "a.csv").write_bytes(b"x\n1\n")
    (tmp_path / "a.csv.zst").write_bytes(b"\x28\xb5\x2f\xfd\x04\x58")
    (tmp_path / "empty.parquet").touch()
    with pytest.raises(UsageFaultsError, match=said):
        opened(target, **more)


def test_parquet_needs_a_file_to_jump_about_in(opened, tmp_path):
    pipe = tmp_path / "a.parquet"
    os.mkfifo(pipe)
    # Both ends: so that nobody waits for the other one to be opened.
    held = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(UsageFaultsError, match="Parquet cannot be read from a stream"):
            opened(pipe)
    finally:
        os.close(held)
