"""Rows of a Parquet file; needs the extra [parquet]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO, Any

from klaviyo_relay.arrow_columns import cells_of
from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import LoadError, UsageFaultsError
from klaviyo_relay_worker.load.rows import Patchy, Row


class ParquetRows:
    """Reads Parquet, some rows of a row group at a time; see `Reader`."""

    is_text = False

    def __init__(self, file: IO[bytes]) -> None:
        """Read the schema.

        Raises:
            UsageFaultsError: pyarrow is missing.
            LoadError: this is no Parquet file.
        """
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError:
            raise UsageFaultsError(
                ['Parquet needs pyarrow: pip install "klaviyo-relay[worker,parquet]"']
            ) from None
        self._arrow: Any = pa
        self._source = file
        try:
            self._file: Any = parquet.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise LoadError(f"this is no Parquet file: {error}") from None
        self.columns: tuple[str, ...] = tuple(self._file.schema_arrow.names)
        self._row = 0
        self._batches: Iterator[Any] | None = None

    @property
    def position(self) -> Position:
        """The place behind the last chunk; rows count as lines."""
        return Position(0, self._row, self._row)

    @property
    def share(self) -> float | None:
        """How much has been read, from 0 to 1."""
        return self._row / max(1, int(self._file.metadata.num_rows))

    def seek(self, position: Position) -> None:
        """Go on behind a row: row groups before it are not read."""
        self._row = position.row
        self._batches = None

    def read(self, most: int) -> list[Row]:
        """The next rows."""
        if self._batches is None:
            self._batches = self._from(self._row, most)
        try:
            batch = next(self._batches, None)
        except (self._arrow.ArrowException, OSError) as error:
            raise LoadError(
                f"the Parquet file is damaged behind row {self._row}: {error}"
            ) from None
        if batch is None:
            return []
        first = self._row + 1
        self._row += batch.num_rows
        return list(enumerate(_cells_of(batch.columns), first))

    def _from(self, row: int, most: int) -> Iterator[Any]:
        metadata = self._file.metadata
        group, skipped = 0, 0
        while group < metadata.num_row_groups:
            rows = metadata.row_group(group).num_rows
            if skipped + rows > row:
                break
            group, skipped = group + 1, skipped + rows
        left = row - skipped
        groups = range(group, metadata.num_row_groups)
        for batch in self._file.iter_batches(batch_size=most, row_groups=list(groups)):
            if left < batch.num_rows:
                yield batch.slice(left)
            left = max(0, left - batch.num_rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._source.close()


def _cells_of(columns: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
    """The cells of each row."""
    found = [cells_of(column) for column in columns]
    rows = list(zip(*(column.values for column in found), strict=True))
    for at in chain.from_iterable(column.unreadable for column in found):
        rows[at] = Patchy(rows[at])
    return rows
