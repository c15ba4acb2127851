"""What can be turned while the sandbox runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class Settings(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The switches of one sandbox; times in seconds."""

    limits: bool = True
    repeats: Literal["discard", "refuse"] = "discard"
    """A unique_id of an *earlier* request: taken and discarded, or (bulk only) a 400 for all."""
    latency_seconds: float = 0.0
    import_delay_seconds: float = 0.5
    """From the creation of an import or suppression job to its completion."""
    finish_jobs: bool = True
    """Whether jobs that are due are done; if not, they stay `processing`."""
    failing_rows: str = ""
    """Rows of import jobs whose JSON contains this fail, with an import error. Empty: none."""
    clock_offset_seconds: float = 0.0
    """The account's clock goes ahead of the machine's (or behind) by this."""
    unsubscribe_ends_membership: bool = False
    """Who is unsubscribed from a list also leaves it, as Klaviyo's OpenAPI document (2026-07-15)
    has it; in the field members were seen to stay."""
    unknown_fields: bool = False
    """Answers carry members that nobody knows, and one attribute of another type than known."""

    def __post_init__(self) -> None:
        """Refuse times that cannot be waited."""
        if self.latency_seconds < 0 or self.import_delay_seconds < 0:
            raise ValueError("seconds must not be negative")


def changed(settings: Settings, changes: Mapping[str, object]) -> Settings:
    """`settings` with `changes` laid over; raises msgspec.ValidationError on a bad one."""
    return msgspec.convert({**msgspec.structs.asdict(settings), **changes}, Settings)
