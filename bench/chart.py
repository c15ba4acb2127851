"""Bar charts as SVG, written as text: no library, no scripts, legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 720
LABELS, BARS = 200, 340
HEAD, ROW, THICK, GAP = 56, 28, 16, 8
# A grey that has a contrast of 4 to 1 at least with white and with the usual dark backgrounds.
TEXT = "#767c86"
OURS, THEIRS = "#1f9d68", "#8b95a8"
FONT = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"


class Bar(NamedTuple):
    label: str
    value: float
    text: str
    is_ours: bool = False


def bars(title: str, remark: str, rows: Sequence[Bar]) -> str:
    """A chart with one horizontal bar a row, on a scale that begins at zero."""
    most = max((row.value for row in rows), default=0) or 1
    height = HEAD + ROW * len(rows) + GAP
    told = "; ".join(f"{row.label} {row.text}" for row in rows)
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
            f' viewBox="0 0 {WIDTH} {height}" role="img" font-family="{FONT}" font-size="13"'
            f' fill="{TEXT}">'
        ),
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(told)}</desc>",
        f'<text x="0" y="18" font-size="15" font-weight="600">{escape(title)}</text>',
        f'<text x="0" y="38" font-size="12">{escape(remark)}</text>',
    ]
    for number, row in enumerate(rows):
        lines += _row(row, HEAD + ROW * number, row.value / most)
    return "\n".join([*lines, "</svg>", ""])


def _row(row: Bar, top: int, share: float) -> list[str]:
    length = max(1.0, share * BARS)
    weight = "600" if row.is_ours else "400"
    base = top + THICK - 4
    colour = OURS if row.is_ours else THEIRS
    label = f'x="{LABELS - GAP}" y="{base}" text-anchor="end" font-weight="{weight}"'
    bar = f'x="{LABELS}" y="{top}" width="{length:.1f}" height="{THICK}" rx="2" fill="{colour}"'
    text = f'x="{LABELS + length + GAP:.1f}" y="{base}" font-weight="{weight}"'
    return [
        f"<text {label}>{escape(row.label)}</text>",
        f"<rect {bar}/>",
        f"<text {text}>{escape(row.text)}</text>",
    ]
