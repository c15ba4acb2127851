"""What a process that a test starts gets of this machine's environment."""

from __future__ import annotations

import os

_NAMES = ("PATH", "HOME", "LANG")
# PYTHONPATH says which tree is tested; COVERAGE_… lets coverage count in the process, too.
MEASURING = "COVERAGE"
_BEGINNINGS = (MEASURING, "PYTHON")


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


def unmeasured() -> dict[str, str]:
    """This environment, for a process that coverage would hang.

    Coverage takes a lock for a moment at every call of a function of ours. An exception from a
    signal handler, or a fork while another thread is at it, leaves that lock taken for ever.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(MEASURING)}
