"""An episode: start everything, let the nemesis work, let calm come, and collect the evidence."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ground import CALM_SETTINGS, Ground
from history import History, RequestLine, journal_lines, request_lines
from msgspec import Struct
from nemesis import KINDS, Fault
from redis.exceptions import RedisError

from klaviyo_relay_worker.dead_letters import DeadLetter

_LOOK_SECONDS = 0.1
# Twice the minute for which the limits may be used up.
REST_SECONDS = 120.0
# Longer than an account is paused, an unsubscribe is looked at again, a deletion is checked again.
TIME_PASSES_SECONDS = 3_700.0
# One person's unsubscribes from a list that they are not on wait for each other, half an hour each.
HOURS_MOST = 12


class Evidence(Struct, frozen=True):
    """All that the oracle judges by.

    Attributes:
        journal: what the producers noted.
        history: what the sandbox processed, in order.
        requests: every request, with its status.
        report: Redis's final numbers, as `klaviyo-relay status` has them.
        dead: the dead letters that were left.
        discarded: dead letters that people let go.
        pending: what each lane had left when it should have been at rest.
        notes: (seconds since 1970, what was done).
        exits: processes that ended by themselves.
        log: where the processes' logs are.
    """

    journal: list[dict[str, Any]]
    history: History
    requests: list[RequestLine]
    report: dict[str, Any]
    dead: list[DeadLetter]
    discarded: list[DeadLetter]
    pending: dict[str, int]
    pending_before_time_passed: dict[str, int]
    notes: list[tuple[float, str]]
    exits: list[str]
    log: Path


def run(
    directory: Path,
    seed: str,
    faults: list[Fault],
    *,
    workers: int = 2,
    producers: int = 3,
    seconds: float = 0.0,
    sabotage: str = "",
) -> Evidence:
    """One episode with these faults; it lasts at least `seconds` before calm comes."""
    ground = Ground(directory, seed, workers=workers, producers=producers, sabotage=sabotage)
    try:
        ground.start()
        storm(ground, faults, seconds)
        pending, before = calm(ground)
        return collect(ground, pending, before)
    finally:
        ground.close()


def storm(ground: Ground, faults: list[Fault], seconds: float) -> None:
    """Begin and end each fault at its time."""
    began = time.monotonic()
    actions = [(fault.at, "begin", fault) for fault in faults]
    actions += [(fault.at + fault.seconds, "end", fault) for fault in faults]
    for at, what, fault in sorted(actions, key=lambda action: action[0]):
        wait(ground, began + at)
        ground.note(f"{what} {fault.name}")
        kind = KINDS[fault.name]
        (kind.begin if what == "begin" else kind.end)(ground, fault)
    wait(ground, began + seconds)


def wait(ground: Ground, until: float) -> None:
    """Supervise until an instant (monotonic seconds)."""
    while (left := until - time.monotonic()) > 0:
        ground.supervise()
        time.sleep(min(_LOOK_SECONDS, left))


def calm(ground: Ground) -> tuple[dict[str, int], dict[str, int]]:
    """All faults end; gives what was left when the lanes should have been at rest.

    The second is what was left before an hour passed on the workers' clocks.
    """
    ground.note("calm")
    ground.rules.clear()
    ground.redis_server.start()
    if ground.redis_server.running:
        ground.redis_server.resume()
    ground.sandbox.resume()
    ground.sandbox.start()
    ground.turn_sandbox(**CALM_SETTINGS)
    for worker in ground.workers:
        worker.resume()
        worker.start()
    ground.redis.config_set("maxmemory", 0)
    for producer in ground.producers:
        producer.end()
    flushed = ground.run("spool", "flush")
    if flushed.returncode:
        ground.note(f"spool flush: {flushed.stdout} {flushed.stderr}")
    before = await_rest(ground, is_patient=False)
    if not before:
        return before, before
    ground.note("time passes")
    left = before
    for hour in range(HOURS_MOST):
        ground.pass_time(TIME_PASSES_SECONDS)
        left = await_rest(ground, is_patient=hour == HOURS_MOST - 1)
        if not left:
            break
    return left, before


def await_rest(ground: Ground, *, is_patient: bool) -> dict[str, int]:
    """Until nothing is left to be done; gives what is left.

    The impatient do not wait for what is only due in half an hour.
    """
    until = time.monotonic() + REST_SECONDS
    left: dict[str, int] = {"?": 1}
    while left and time.monotonic() < until:
        ground.supervise()
        time.sleep(_LOOK_SECONDS)
        try:
            before, left = left, ground.pending()
        except RedisError:
            continue
        if not is_patient and left == before and _only_parked(ground, left):
            break
    return left


def _only_parked(ground: Ground, left: dict[str, int]) -> bool:
    """Whether the rest waits for a time far away: an unsubscribe of somebody not on the list."""
    for name, one in ground.lanes():
        is_late = name in ("consent", "privacy") and one["parked"]
        if name in left and (not is_late or one["in_delivery"]):
            return False
    return bool(left)


def collect(ground: Ground, pending: dict[str, int], before: dict[str, int]) -> Evidence:
    """End the processes and read what they left."""
    for worker in ground.workers:
        worker.end()
    report, dead = ground.report(), ground.dead()
    ground.sandbox.end()
    return Evidence(
        journal=[
            line
            for path in sorted(ground.directory.glob("journal-*"))
            for line in journal_lines(path)
        ],
        history=History.of(ground.record),
        requests=list(request_lines(ground.request_log)),
        report=report,
        dead=dead,
        discarded=ground.discarded,
        pending=pending,
        pending_before_time_passed=before,
        notes=ground.notes,
        exits=[one for program in ground.programs for one in program.exits],
        log=ground.directory,
    )
