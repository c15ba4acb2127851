"""Kept lines: of CSV, whose rows are known only when they end; so lines can be read again.

A quotation mark that somebody forgot makes all that is behind it one cell, until another one ends
it or the data end. The lines of a row under way are kept, to be read as rows of their own then.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from klaviyo_relay_worker.load.rows import Bytes

_BLOCK_LINES = 256


class KeptLines:
    """Lines as texts, by their numbers from 0.

    Attributes:
        began: the first line of the row under way.
        row_most: the most bytes that a row may have behind its first line; longer ones are refused.
    """

    def __init__(self, data: Bytes, encoding: str, first: int, row_most: int) -> None:
        """Begin where the bytes are.

        Args:
            first: number of the line there.
            row_most: see above.
        """
        self.began = first
        self.row_most = row_most
        self._encoding = encoding
        self._coming = data.lines()
        self._kept: list[bytes] = []
        self._first, self._offset = first, data.offset

    def read_from(self, line: int) -> Iterator[str]:
        """Texts from a line on that is still kept; what was read before goes on no further."""
        return chain.from_iterable(self._blocks(line))

    def _blocks(self, line: int) -> Iterator[Iterable[str]]:
        yield map(self._text, self._kept[line - self._first :])
        while block := list(islice(self._coming, _BLOCK_LINES)):
            end = self._first + len(self._kept)
            self._kept += block
            if self.size(self.began + 1, end) > self.row_most:
                raise csv.Error("the row has no end")
            yield map(self._text, block)

    def _text(self, line: bytes) -> str:
        # What is not of the encoding is carried on and refused in the cell where it stands.
        return line.decode(self._encoding, "surrogateescape")

    def text(self, line: int) -> str:
        """A line that is still kept, without its end."""
        return self._text(self._kept[line - self._first]).rstrip("\r\n")

    def size(self, first: int, end: int) -> int:
        """Bytes of the lines from one to before another."""
        return sum(map(len, self._kept[first - self._first : end - self._first]))

    def offset(self, line: int) -> int:
        """Where in the data a line begins that is still kept."""
        return self._offset + self.size(self._first, line)

    def forget(self, end: int) -> None:
        """The lines before this one are not asked for any more."""
        self._offset = self.offset(end)
        del self._kept[: end - self._first]
        self._first = end
