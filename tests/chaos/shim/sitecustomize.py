"""Loaded by Python in the worker processes: shifts the clock, and breaks the engine on purpose.

CHAOS_CLOCK names a file that holds seconds by which `time.time` goes ahead. CHAOS_SABOTAGE names
one of the ways in sabotage.py.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

_LOOK_EVERY_SECONDS = 0.02


def _shift_clock(path: Path) -> None:
    real, monotonic = time.time, time.monotonic
    read_at, offset = 0.0, 0.0

    def shifted() -> float:
        nonlocal read_at, offset
        if monotonic() - read_at > _LOOK_EVERY_SECONDS:
            read_at = monotonic()
            offset = float(path.read_text() or 0)
        return real() + offset

    time.time = shifted


def _pass_time(path: Path) -> None:
    """The time that Redis tells goes ahead, too, when calm has come and hours are to pass."""
    from redis._parsers import helpers

    for table in (helpers._RedisCallbacks, helpers._RedisCallbacksRESP2):
        if "TIME" in table:
            told = table["TIME"]
            table["TIME"] = lambda answer, told=told, **more: _later(told(answer, **more), path)


def _later(told: tuple[int, int], path: Path) -> tuple[int, int]:
    return told[0] + int(float(path.read_text() or 0)), told[1]


if os.environ.get("CHAOS_CLOCK"):
    _shift_clock(Path(os.environ["CHAOS_CLOCK"]))
if os.environ.get("CHAOS_HOURS"):
    _pass_time(Path(os.environ["CHAOS_HOURS"]))
if os.environ.get("CHAOS_SABOTAGE"):
    sys.path.append(str(Path(__file__).parent.parent))
    import sabotage

    sabotage.apply(os.environ["CHAOS_SABOTAGE"])
