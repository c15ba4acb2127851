"""Cells: one value as text, of a width that is known."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import msgspec


def text_of(value: object, *, is_for_eyes: bool = False) -> str:
    """A value in one line.

    Args:
        value: of a resource: a text, number, time, object, list, or None.
        is_for_eyes: times without the T and parts of seconds.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        text = value.isoformat(" ", "seconds") if is_for_eyes else value.isoformat()
        return text.replace("+00:00", "Z") if value.utcoffset() == UTC.utcoffset(None) else text
    return msgspec.json.encode(value).decode()


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal: none for combining marks, two for wide letters."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(one: str) -> int:
    if unicodedata.combining(one):
        return 0
    return 2 if unicodedata.east_asian_width(one) in "WF" else 1


def fitted(text: str, width: int) -> str:
    """A text of just this width: filled up with spaces, or cut with an ellipsis."""
    excess = width_of(text) - width
    if excess <= 0:
        return text + " " * -excess
    left = width - 1
    kept = []
    for one in text:
        left -= _width(one)
        if left < 0:
            break
        kept.append(one)
    cut = "".join(kept) + "…"
    return cut + " " * (width - width_of(cut))
