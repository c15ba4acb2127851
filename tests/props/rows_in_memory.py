"""Rows of a load, read from bytes in memory."""

from __future__ import annotations

import io
from typing import Any

from klaviyo_relay_worker.load.rows import Bytes


def reader_of(content: bytes, kind: Any) -> Any:
    """A reader of this kind, at the beginning."""
    return kind(Bytes(io.BufferedReader(io.BytesIO(content)), len(content)))


def all_rows(reader: Any, most: int = 7) -> list[Any]:
    """What is left, read in chunks of at most so many."""
    found: list[Any] = []
    while rows := reader.read(most):
        found += rows
    return found
