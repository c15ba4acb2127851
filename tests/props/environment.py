"""What a process that a test starts gets of this machine's environment."""

from __future__ import annotations

import os

_NAMES = ("PATH", "HOME", "LANG")
# PYTHONPATH says which tree is tested; COVERAGE_… lets coverage count in the process, too.
_BEGINNINGS = ("COVERAGE", "PYTHON")


def environment_of(*names: str, **more: str) -> dict[str, str]:
    """An environment without any setting of the machine's.

    Args:
        names: of further variables to pass on.
        more: variables of the test's own.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or name in names or name.startswith(_BEGINNINGS)
    }
    return kept | more
