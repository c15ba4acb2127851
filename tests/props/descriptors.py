"""The descriptors that this process has open."""

from __future__ import annotations

from pathlib import Path

import pytest

_DESCRIPTORS = Path("/proc/self/fd")
# They cannot be listed everywhere.
listed = pytest.mark.skipif(not _DESCRIPTORS.is_dir(), reason="no /proc on this system")


def open_files() -> list[str]:
    """What each of them leads to."""
    links = [link for link in _DESCRIPTORS.iterdir() if link.is_symlink()]
    return sorted(str(link.readlink()) for link in links)
