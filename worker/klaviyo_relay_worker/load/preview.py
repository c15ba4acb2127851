"""Preview: what a load would do, without Redis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from klaviyo_relay_worker.load.loading import CHUNK_ROWS, Summary
from klaviyo_relay_worker.load.making import Maker
from klaviyo_relay_worker.load.rejects import Refusal
from klaviyo_relay_worker.load.sources import Source


class _Message(msgspec.Struct):
    command: msgspec.Raw


def preview(
    source: Source,
    maker: Maker,
    shown: int,
    show: Callable[[str], Any],
    refuse: Callable[[Refusal], Any],
) -> Summary:
    """Read all rows, show the first commands and every refused row.

    Args:
        shown: how many commands are shown.
        show: is given commands as JSON.
    """
    rows = commands = refused = 0
    while chunk := source.reader.read(CHUNK_ROWS):
        made = maker.make(chunk, rows)
        messages = sorted(pair for lane in made.lanes.values() for pair in lane)
        for _, message in messages[: max(0, shown - commands)]:
            show(bytes(msgspec.json.decode(message, type=_Message).command).decode())
        for refusal in made.refusals:
            refuse(refusal)
        rows, commands = rows + len(chunk), commands + made.commands
        refused += len(made.refusals)
    return Summary(rows, commands, refused, 0, 0)
