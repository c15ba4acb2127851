"""The harness is a program of several files, not a package: its folder is where they find it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
