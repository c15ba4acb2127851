"""The bytes under the rows: plain or packed, whole or cut off."""

from __future__ import annotations

import codecs
import gzip
import lzma
import random
import zlib

import pytest

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.csv_rows import CsvRows
from klaviyo_relay_worker.load.errors import LoadError, UsageFaultsError
from klaviyo_relay_worker.load.ndjson_rows import NdjsonRows
from rows_in_memory import reader_of

LINES = [
    b'{"a": "%s"}\n' % random.Random(seed).randbytes(20).hex().encode() for seed in range(50_000)
]


def whole_lines_of(packed):
    """Those that there are in gzip data that may be cut off."""
    return zlib.decompressobj(wbits=31).decompress(packed).count(b"\n")


def test_gzip_that_is_cut_off_gives_every_whole_line_and_then_says_so():
    packed = gzip.compress(b"".join(LINES))
    cut = packed[: len(packed) // 2]
    reader = reader_of(cut, NdjsonRows)
    whole = whole_lines_of(cut)
    assert whole > 10_000
    assert len(reader.read(2 * whole)) == whole
    for _ in range(2):
        with pytest.raises(LoadError, match="damaged or cut off"):
            reader.read(1_000)


@pytest.mark.parametrize("many", [2, 15], ids=["in its header", "in its first line"])
def test_gzip_that_is_cut_off_at_once_is_said(many):
    with pytest.raises(LoadError, match="damaged or cut off 0 unpacked bytes"):
        reader_of(gzip.compress(LINES[0])[:many], CsvRows)


def test_a_row_of_csv_that_is_cut_off_is_neither_loaded_nor_refused():
    note = b"".join(LINES).replace(b'"', b"'")
    packed = gzip.compress(b'a,b\n1,2\n3,"' + note[:100_000])
    reader = reader_of(packed[:-1_000], CsvRows)
    assert reader.read(10) == [(2, ["1", "2"])]
    assert reader.position == Position(8, 1, 2)
    with pytest.raises(LoadError, match="damaged or cut off"):
        reader.read(10)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16: .*iconv -f UTF-16"),
        (b"\xfe\xff\x00a", "UTF-16: .*iconv -f UTF-16"),
        (gzip.compress("a,b\n1,2\n".encode("utf-16")), "UTF-16: .*iconv -f UTF-16"),
        (b"\x28\xb5\x2f\xfd\x04\x58", "zstd -d"),
        (lzma.compress(b"a,b\n"), "xz -d"),
        (b"PK\x03\x04\x14\x00", "ZIP archive or a workbook"),
    ],
    ids=["UTF-16", "UTF-16 of the other order", "UTF-16 in gzip", "zstd", "xz", "ZIP"],
)
def test_what_is_no_text_is_said_by_what_it_is(content, said):
    with pytest.raises(UsageFaultsError, match=said):
        reader_of(content, CsvRows)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_byte_order_mark_is_counted_and_not_read(pack):
    content = pack(codecs.BOM_UTF8 + b"a,b\n1,2\n3,4\n")
    reader = reader_of(content, CsvRows)
    assert reader.columns == ("a", "b")
    assert reader.read(1) == [(2, ["1", "2"])]
    assert reader.position == Position(11, 1, 2)
    again = reader_of(content, CsvRows)
    again.seek(reader.position)
    assert again.read(1) == [(3, ["3", "4"])]
