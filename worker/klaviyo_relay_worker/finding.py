"""A finding of the checkup."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        level: ok, warning (works, but may lose or stall) or fault (does not work).
        subject: what was looked at.
        text: what was found, and how to mend it.
    """

    level: Literal["ok", "warning", "fault"]
    subject: str
    text: str
