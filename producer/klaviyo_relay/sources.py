"""The sources of commands: how each names itself towards the lanes, which keep a mark of each.

A spool file bears twelve hexadecimal digits, without a prefix, as in its own name.
"""

from __future__ import annotations

import os

# `enqueue_many` and the command `load`, with the name of the load or a digest of its content.
LOAD = "load-"
# A Celery task, with its id.
TASK = "task-"
# A process whose disk takes no more.
DIRECT = "direct-"
# A table in an application's database, for ever.
OUTBOX = "outbox-"

DAY_SECONDS = 86_400.0
# A spool file may come back with a machine that was switched off; a Celery task comes back within
# the broker's visibility time-out, which is hours at the most.
MARK_SECONDS, TASK_MARK_SECONDS = 30 * DAY_SECONDS, 2 * DAY_SECONDS


def unique(prefix: str = "") -> str:
    """A name that no other source has."""
    return prefix + os.urandom(6).hex()


def kept_seconds(source: str) -> float:
    """For how long the mark of a source is kept after its last word."""
    return TASK_MARK_SECONDS if source.startswith(TASK) else MARK_SECONDS
