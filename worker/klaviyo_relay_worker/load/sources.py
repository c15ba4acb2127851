"""Sources: a file, standard input or a query, opened as what its name or --format says it is."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Callable
from io import BufferedReader, FileIO
from pathlib import Path
from typing import IO, Literal, NamedTuple

from msgspec import Struct

from klaviyo_relay_worker.load.content import Stamp, claim, digest_of, digest_of_name, stamp_of
from klaviyo_relay_worker.load.csv_rows import CsvRows
from klaviyo_relay_worker.load.errors import LoadError, UsageFaultsError
from klaviyo_relay_worker.load.ndjson_rows import NdjsonRows
from klaviyo_relay_worker.load.parquet_rows import ParquetRows
from klaviyo_relay_worker.load.rows import Bytes, Reader
from klaviyo_relay_worker.load.sql_rows import SqlRows, is_ordered

Format = Literal["csv", "ndjson", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "ndjson", "parquet")
STDIN = "-"
_ENDINGS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
# The second one is known so that it can be said what it is.
_PACKED = (".gz", ".zst")
# What follows from loading rows that were loaded as another content.
ANEW = (
    "All its events are then new events to Klaviyo, unless --key-column or a unique_id in each row"
    " knows them again"
)


class Where(Struct, frozen=True, kw_only=True):
    """What is to be read, as a person says it.

    Attributes:
        target: path, "-" or database URL.
        format: of a file or standard input; None to go by the name's ending.
        query: SQL, with a database URL.
        name: by which a stream or query is known again (`--source`).
        delimiter: of CSV; None for a comma, or a tab in .tsv files.
        encoding: of CSV.
    """

    target: str
    format: Format | None = None
    query: str | None = None
    name: str | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"

    @property
    def is_database(self) -> bool:
        """The target is a URL."""
        return "://" in self.target

    @property
    def known_format(self) -> Format:
        """Of a file or standard input.

        Raises:
            UsageFaultsError: neither the name nor a person says it.
        """
        if self.format is not None:
            return self.format
        found = _ENDINGS.get(self._suffixes[-1]) if self._suffixes else None
        if found is None:
            raise UsageFaultsError(
                [f"{self.target} does not say what it is: say --format {'|'.join(FORMATS)}"]
            )
        return found

    @property
    def known_delimiter(self) -> str:
        """Of CSV."""
        return self.delimiter or ("\t" if ".tsv" in self._suffixes else ",")

    @property
    def known_encoding(self) -> str:
        """Of CSV, by its one name; a byte order mark is left out of any."""
        return codecs.lookup(self.encoding).name.removesuffix("-sig")

    @property
    def reading(self) -> str:
        """How the bytes become rows: read in another way, they may be other rows."""
        if self.is_database:
            return "sql"
        if self.known_format != "csv":
            return self.known_format
        return f"csv {self.known_delimiter!r} {self.known_encoding}"

    @property
    def _suffixes(self) -> list[str]:
        found = [suffix.lower() for suffix in Path(self.target).suffixes]
        return [suffix for suffix in found if suffix not in _PACKED]


class Source(NamedTuple):
    """What was opened.

    Attributes:
        reader: of its rows.
        content: digest of what it is; a random one if nobody can know it again.
        file: the open file, if it is one that can be read again.
        stamp: of that file when its content was read.
    """

    reader: Reader
    content: str
    file: IO[bytes] | None = None
    stamp: Stamp | None = None

    def is_at(self, path: Path) -> bool:
        """Whether a path, under any name, is the file."""
        if self.file is None or not path.exists():
            return False
        return os.path.samestat(os.fstat(self.file.fileno()), path.stat())

    def check_unchanged(self) -> None:
        """Say it if the file was written to meanwhile.

        Raises:
            LoadError: it was.
        """
        if self.file is not None and stamp_of(self.file) != self.stamp:
            raise LoadError(
                "the file was written to while it was being loaded, so rows of both versions may"
                f" be in Redis; --restart loads the file as it is now. {ANEW}"
            )


def open_source(where: Where, tell: Callable[[str], None]) -> Source:
    """Open what a person named.

    Args:
        tell: is told what takes a while.

    Raises:
        UsageFaultsError: the words do not fit together, or an extra is missing.
        LoadError: it cannot be read.
    """
    if where.is_database:
        return _open_query(where)
    if where.query is not None:
        raise UsageFaultsError(["--query needs a database URL such as postgresql://… instead"])
    if where.target == STDIN:
        return _open_stream(where, sys.stdin.buffer)
    file = _open(where.target)
    try:
        return _open_path(where, file, tell)
    except BaseException:
        file.close()
        raise


def _open_path(where: Where, file: BufferedReader, tell: Callable[[str], None]) -> Source:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return _open_stream(where, file)
    return _open_file(where, file, tell)


def _open(target: str) -> BufferedReader:
    try:
        return BufferedReader(FileIO(target), 2**18)
    except OSError as error:
        raise UsageFaultsError([f"cannot read {target}: {error.strerror}"]) from None


def _open_query(where: Where) -> Source:
    if where.query is None:
        raise UsageFaultsError(['a database needs --query "SELECT … ORDER BY …"'])
    if where.name is not None and not is_ordered(where.query):
        raise UsageFaultsError(
            ["--source needs ORDER BY in --query: a load that is resumed counts the rows"]
        )
    return Source(SqlRows(where.target, where.query), _name_digest(where))


def _open_stream(where: Where, file: IO[bytes]) -> Source:
    return Source(_reader(where, file), _name_digest(where))


def _open_file(where: Where, file: BufferedReader, tell: Callable[[str], None]) -> Source:
    if where.name is not None:
        raise UsageFaultsError(
            ["--source is for standard input and queries: a file is known by its content"]
        )
    claim(file, where.target)
    stamp = stamp_of(file)
    tell(f"reading {where.target} to know it again")
    content = digest_of(file)
    return Source(_reader(where, file, stamp.size), content, file, stamp)


def _name_digest(where: Where) -> str:
    return os.urandom(16).hex() if where.name is None else digest_of_name(where.name)


def _reader(where: Where, file: IO[bytes], size: int | None = None) -> Reader:
    match where.known_format:
        case "parquet":
            if size is None:
                raise UsageFaultsError(["Parquet cannot be read from a stream; name a file"])
            if not size:
                raise UsageFaultsError([f"{where.target} is empty, and so no Parquet file"])
            return ParquetRows(file)
        case "ndjson":
            return NdjsonRows(Bytes(file, size or 0))
        case "csv":
            data = Bytes(file, size or 0)
            return CsvRows(data, delimiter=where.known_delimiter, encoding=where.known_encoding)
