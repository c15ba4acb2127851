"""Places: under which keys a planner knows what stands in a lane. `settle.lua` reads the same.

stream          the entry's id there, such as 17-0
parked          p:<command id>
in a job's row  f:<command id>, of an import job that is followed
a whole job     job:<job id>: when it is due, whom it holds
"""

from __future__ import annotations

_PARKED, _ROW, _JOB = "p:", "f:", "job:"


def parked_key(command_id: str) -> str:
    """Where a parked command stands."""
    return _PARKED + command_id


def row_key(command_id: str) -> str:
    """Where a command stands that is a row of an import job."""
    return _ROW + command_id


def job_key(job_id: str) -> str:
    """The place of an import job, by Klaviyo's id."""
    return _JOB + job_id


def is_parked(key: str) -> bool:
    """Whether a parked command stands there."""
    return key.startswith(_PARKED)


def job_of(key: str) -> str | None:
    """The import job's id if the place is one's, or None."""
    return key[len(_JOB) :] if key.startswith(_JOB) else None
