"""Programs that a machine may have or not."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("klaviyo-relay")


def found(*names: str) -> str:
    """The path of the first of these programs that is installed; "" if none is.

    Some come with the development requirements, whose programs need not be on PATH.
    """
    beside = str(Path(sys.executable).parent)
    places = (shutil.which(name, path=beside) or shutil.which(name) for name in names)
    return next(filter(None, places), "")


def needs(*names: str) -> str:
    """The same; the test is skipped where none is installed."""
    path = found(*names)
    if not path:
        pytest.skip(f"{' or '.join(names)} is not installed")
    return path
