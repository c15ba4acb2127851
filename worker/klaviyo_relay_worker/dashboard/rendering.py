"""Rendering: the templates, and how numbers and times are written in them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def html(template: str, status: int = 200, /, **values: Any) -> HTMLResponse:
    """A page; whatever stands in the values is text, never markup."""
    return HTMLResponse(_templates().get_template(template).render(**values), status)


def age(seconds: float) -> str:
    """Seconds in their largest unit, such as 3 min."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:,.0f} {unit}"
    return "0 s"


def share(used: float, limit: float) -> int:
    """How much of a limit is used, in per cent."""
    return round(100 * used / limit) if limit else 0


def moment(seconds: float) -> str:
    """A time as 2026-07-15 03:04:05 UTC; a question mark where it is not known."""
    if not 0 < seconds < 1e11:
        return "?"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader(__package__ or ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(age=age, moment=moment, number=lambda number: f"{number:,}")
    made.globals.update(share=share)
    return made
