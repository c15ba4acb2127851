"""Ways of breaking the engine on purpose, each with the rule of the oracle that must catch it.

The shim applies one in the worker and producer processes before they begin, by the names of what it
breaks: a name that is gone ends the process with an exit code of its own, so that no sabotage fails
in silence.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

ATTEMPTS = 3
CANNOT = 70
"""Exit code of a process that could not be sabotaged."""
_WORKER = "klaviyo_relay_worker"


class Way(Struct, frozen=True):
    """A way of breaking the engine.

    Attributes:
        apply: breaks it, in a process of its own.
        caught_by: the rules of which one must be violated.
        kinds: the faults that expose it; none needs none.
        rounds: of faults.
        seconds: how long the producers work at least.
    """

    apply: Callable[[], None]
    caught_by: tuple[str, ...]
    kinds: tuple[str, ...] = ()
    rounds: int = 4
    seconds: float = 12.0


def apply(name: str) -> None:
    """Break the engine in this process, or end it."""
    try:
        WAYS[name].apply()
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
        # Python goes on after an exception in sitecustomize.
        os._exit(CANNOT)


def applicable(name: str) -> str:
    """Why a way cannot be applied to the engine as it is, or "" if it can."""
    program = f"import sabotage; sabotage.apply({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def _module(name: str) -> Any:
    return importlib.import_module(f"{_WORKER}.{name}")


def _replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put something in the place of an attribute that must exist; `make` gets the old one."""
    setattr(owner, name, make(getattr(owner, name)))


def _rewrite(script: str, old: str, new: str) -> None:
    """Change the text of a Lua script; must come before the module that reads it is imported."""
    scripts = importlib.import_module("klaviyo_relay.scripts")
    package = "klaviyo_relay" if script == "ship" else _WORKER
    text = scripts.script_of(package, script)
    if old not in text:
        raise LookupError(f"{script}.lua has no {old!r}")
    original = scripts.script_of

    def script_of(package: str, name: str) -> str:
        found = original(package, name)
        return found.replace(old, new) if name == script else found

    scripts.script_of = script_of


def settle_before_send() -> None:
    delivered = _module("outcome").Delivered()

    def make(errand: Any) -> Any:
        def settle_and_send(self: Any, batch: Any) -> Any:
            outcomes = {entry.key: delivered for entry in batch.entries}
            self._lane.settle(self._lease, batch.entries, outcomes, time.time())
            return errand(self, batch)

        return settle_and_send

    _replace(_module("dispatch").Dispatch, "errand", make)


def settle_without_lease_check() -> None:
    _rewrite("settle", "if redis.call('GET', lease) ~= ARGV[1] then", "if false then")
    # Nor does the planner look at the lease that it has lost, or give its place up in time.
    _replace(_module("lease").Lease, "remaining_seconds", lambda _: property(lambda _: 10.0))
    _replace(_module("turn"), "TURN_SECONDS", lambda _: 300.0)


def _when_returned(change: Callable[[Any, Any], Any]) -> None:
    """Change what comes back of a conversation."""

    def make(deliver: Any) -> Any:
        return lambda self, batch: change(batch, deliver(self, batch))

    _replace(_module("courier").Courier, "deliver", make)


def _count_as_delivered(reasons: tuple[str, ...]) -> None:
    delivered = _module("outcome").Delivered()

    def change(batch: Any, returned: Any) -> Any:
        if returned.snooze is not None and returned.snooze.reason in reasons:
            for entry in batch.entries:
                returned.ledger.outcomes.setdefault(entry.key, delivered)
        return returned

    _when_returned(change)


def drop_on_429() -> None:
    _count_as_delivered(("throttled",))


def outages_count_as_delivered() -> None:
    _count_as_delivered(("outage",))


def resend_with_new_ids() -> None:
    def make(attributes: Any) -> Any:
        def renewed(part: Any) -> Any:
            made = attributes(part)
            made.unique_id = uuid.uuid4().hex
            return made

        return renewed

    _replace(_module("plan.events"), "_event_attributes", make)


def no_fence_for_jobs() -> None:
    _replace(_module("intake").Intake, "_fence", lambda _: lambda _self, _key, _entry: None)
    _replace(_module("lane").Lane, "fences", lambda _: lambda _self: {})


def mark_not_checked() -> None:
    _rewrite("ship", "if tonumber(number) > mark then", "if true then")


def marks_never_fall_back() -> None:
    _rewrite("ship", "if added > 0 then\n", "if added > 0 and false then\n")


def unsubscribe_without_membership_check() -> None:
    def everybody(_list_id: str, parts: Any, *_more: Any) -> Any:
        yield from ()
        return list(parts)

    _replace(_module("plan.consent"), "_members_of", lambda _: everybody)


def delete_source_before_destination() -> None:
    def make(settle: Any) -> Any:
        def delete_and_settle(
            self: Any, lease: Any, entries: Any, outcomes: Any, now: float, *more: Any
        ) -> None:
            keys = [entry.key for entry in entries if entry.key in outcomes]
            keys = [key for key in keys if not key.startswith(("p:", "f:"))]
            if keys:
                self._redis.xdel(self.keys.stream, *keys)
            time.sleep(0.3)
            settle(self, lease, entries, outcomes, now, *more)

        return delete_and_settle

    _replace(_module("lane").Lane, "settle", make)


def duplicate_unique_id_in_one_bulk() -> None:
    def everything(entries: Any) -> Any:
        return list(entries[:1000]), len(entries) >= 1000

    _replace(_module("plan.events"), "_take", lambda _: everything)


def ignore_retry_after() -> None:
    _replace(_module("judge"), "after_throttling", lambda _: lambda *_a, **_k: 0.05)
    _replace(_module("quota").Quota, "throttled", lambda _: lambda *_a, **_k: 0.05)


def quota_off() -> None:
    _replace(_module("quota").Quota, "reserve", lambda _: lambda *_a, **_k: 0.0)


def poison_counts_as_delivered() -> None:
    delivered = _module("outcome").Delivered()
    _replace(
        _module("plan.batch").Ledger,
        "refuse",
        lambda _: lambda self, entries, _failure: self.settle(entries, delivered),
    )


def whole_batch_dies_of_one() -> None:
    def make(_: Any) -> Any:
        def deliver(self: Any, parts: Any, ledger: Any) -> Any:
            answer = yield self._build(parts)
            if answer.is_accepted:
                self._accept(answer, parts, ledger)
                return
            failure = _module("outcome").failures_of(answer.status, answer.document())[0]
            for part in parts:
                ledger.refuse(part.entries, failure)

        return deliver

    _replace(_module("plan.ladder").Bulk, "deliver", make)


def bisect_drops_good_half() -> None:
    delivered = _module("outcome").Delivered()

    def make(take_apart: Any) -> Any:
        def first_half(self: Any, parts: Any, failures: Any, ledger: Any) -> Any:
            kept = []
            for again in (yield from take_apart(self, parts, failures, ledger)):
                middle = max(1, len(again) // 2)
                ledger.settle_parts(again[middle:], delivered)
                kept.append(again[:middle])
            return kept

        return first_half

    _replace(_module("plan.ladder").Bulk, "_take_apart", make)


def jobs_are_not_followed() -> None:
    delivered = _module("outcome").Delivered()

    def accept(_answer: Any, parts: Any, ledger: Any) -> None:
        ledger.settle_parts(parts, delivered)

    _replace(_module("plan.profiles"), "accept_job", lambda _: accept)
    _replace(_module("plan.profiles")._BULK, "_accept", lambda _: accept)


def coalesce_backwards() -> None:
    def make(coalesce: Any) -> Any:
        return lambda first, second: coalesce(second, first)

    _replace(_module("plan.profiles"), "coalesce", make)


def several_in_flight_of_one_profile() -> None:
    """Batches go out without holding back what is in flight."""
    _replace(_module("intake").Intake, "held", lambda _: lambda _self: frozenset())
    _replace(_module("intake").Intake, "_fence", lambda _: lambda _self, _key, _entry: None)


def consent_clock_ignored() -> None:
    clock = _module("plan.withdrawals").Withdrawals
    _replace(clock, "withdrawn", lambda _: lambda *_a: set())


def forget_not_checked() -> None:
    _replace(_module("admission").Admission, "refused", lambda _: lambda *_a: {})
    _replace(_module("erasure").Erasure, "purge", lambda _: lambda *_a: 0)


_KILLS = ("kill worker", "kill Redis")
WAYS: dict[str, Way] = {
    "settle_before_send": Way(settle_before_send, ("conservation",), ("errors", "reset")),
    "settle_without_lease_check": Way(
        settle_without_lease_check,
        ("conservation", "once", "order"),
        ("freeze worker", "delay"),
        rounds=7,
    ),
    "drop_on_429": Way(drop_on_429, ("conservation",), ("throttle",)),
    "outages_count_as_delivered": Way(
        outages_count_as_delivered, ("conservation",), ("errors", "reset")
    ),
    "resend_with_new_ids": Way(resend_with_new_ids, ("once",), ("lose answers",)),
    "no_fence_for_jobs": Way(no_fence_for_jobs, ("order",), ("slow jobs", "stuck jobs")),
    "mark_not_checked": Way(mark_not_checked, ("conservation",), ("freeze Redis",)),
    "marks_never_fall_back": Way(
        marks_never_fall_back, ("conservation",), ("kill Redis", "kill producer")
    ),
    "unsubscribe_without_membership_check": Way(unsubscribe_without_membership_check, ("consent",)),
    "delete_source_before_destination": Way(
        delete_source_before_destination, ("conservation",), _KILLS
    ),
    "duplicate_unique_id_in_one_bulk": Way(
        duplicate_unique_id_in_one_bulk, ("limits",), ("errors",)
    ),
    "ignore_retry_after": Way(ignore_retry_after, ("limits",), ("throttle",)),
    "quota_off": Way(quota_off, ("limits",), rounds=0, seconds=75.0),
    "poison_counts_as_delivered": Way(
        poison_counts_as_delivered, ("conservation",), rounds=0, seconds=20.0
    ),
    "whole_batch_dies_of_one": Way(whole_batch_dies_of_one, ("harmless",), rounds=0, seconds=15.0),
    "bisect_drops_good_half": Way(
        bisect_drops_good_half, ("conservation",), ("errors",), seconds=20.0
    ),
    "jobs_are_not_followed": Way(jobs_are_not_followed, ("conservation",), rounds=0, seconds=30.0),
    "coalesce_backwards": Way(coalesce_backwards, ("order",), ("errors", "pause sandbox")),
    "several_in_flight_of_one_profile": Way(
        several_in_flight_of_one_profile, ("order",), ("slow jobs", "delay", "errors")
    ),
    "consent_clock_ignored": Way(
        consent_clock_ignored, ("consent",), ("freeze Redis", "kill Redis"), rounds=6
    ),
    "forget_not_checked": Way(
        forget_not_checked, ("forgotten",), ("errors in part", "pause producer"), rounds=8
    ),
}
"""Every way by its name."""
