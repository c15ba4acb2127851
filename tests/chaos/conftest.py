"""The harness is a program of several files, not a package: its folder is where they find it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tree import REPOSITORY

HERE = Path(__file__).parent

sys.path.insert(0, str(HERE))


@pytest.fixture(autouse=True)
def _this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes run what is tested here."""
    paths = [str(REPOSITORY / "producer"), str(REPOSITORY / "worker")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
