"""A long queue against Klaviyo's steady limit: how much of it workers use, without a single 429.

    python -m bench steady

300,000 events are what Klaviyo takes in two minutes: 150 bulk requests a minute of 1,000 events. So
many and some more, that the queue does not run dry, are loaded with enqueue_many; only then do the
workers start. The sandbox has Klaviyo's limits on (10 bulk requests a second, 150 a minute, in
windows that begin with its clock's seconds and minutes). One worker and three; a sandbox that
answers at once and one that takes two seconds.

The measure is a rate, not a sum. A worker that counts sliding minutes sends a minute's worth in
quarter of a minute and rests, so a sum over 120 s would be the same for a rest of 45 s and of 80 s.
Instead: the events of all accepted bulk requests before the first one that comes 120 s or more
after the very first, over what the steady limit allows in the time until that one. 429s count for
all endpoints and for the whole run. An event that arrives twice counts once.

The printed CPU shares (of one core, from the first bulk request on) show that the sandbox, which is
in Python too, is not what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from bench.order import orders
from bench.stage import Figure, House, cpu_seconds, house, wait_until
from klaviyo_relay import Producer

QUEUED = 320_000
SECONDS = 120.0
STEADY_A_MINUTE, BULK_MOST = 150, 1_000
START_SECONDS, LATE_SECONDS = 60.0, 60.0
BULK = "POST /api/event-bulk-create-jobs"


class Variant(NamedTuple):
    workers: int
    latency_seconds: float

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        answer = f"after {self.latency_seconds:g} s" if self.latency_seconds else "at once"
        return f"{workers}, answers {answer}"


class Use(NamedTuple):
    """What was used of the steady limit in `seconds`, from the first bulk request on."""

    requests: int
    events: int
    seconds: float

    @property
    def share(self) -> float:
        return self.events / (STEADY_A_MINUTE * BULK_MOST * self.seconds / 60)


class Run(NamedTuple):
    use: Use
    throttled: int
    repeated: int


VARIANTS = (Variant(1, 0.0), Variant(3, 0.0), Variant(1, 2.0), Variant(3, 2.0))


def use_of(requests: Sequence[dict[str, Any]], seconds: float) -> Use:
    """The use until the first bulk request that comes `seconds` or more after the first.

    Args:
        requests: the sandbox's log, in the order in which it answered.
    """
    accepted = [one for one in requests if one["endpoint"] == BULK and one["status"] == "202"]
    bulk = sorted(accepted, key=lambda one: one["monotonic"])
    began: float = bulk[0]["monotonic"]
    counted = [one for one in bulk if one["monotonic"] - began < seconds]
    if len(counted) == len(bulk):
        raise RuntimeError(f"no bulk request came after the first {seconds:g} s")
    until: float = bulk[len(counted)]["monotonic"] - began
    return Use(len(counted), sum(one["items"] for one in counted), until)


def has_bulk_after(home: House, seconds: float) -> bool:
    times = [one["monotonic"] for one in requests_of(home) if one["endpoint"] == BULK]
    return bool(times) and max(times) - min(times) >= seconds


def requests_of(home: House) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = home.sandbox("requests")["requests"]
    return found


def _measure(home: House, variant: Variant, seconds: float) -> str:
    """Let the workers work; returns the processes' CPU shares, for people to read."""
    with ExitStack() as stack:
        pids = [
            stack.enter_context(home.worker(f"worker-{number}")).pid
            for number in range(variant.workers)
        ]
        if not wait_until(lambda: has_bulk_after(home, 0.0), START_SECONDS, pause=0.05):
            raise RuntimeError("the workers did not begin")
        before = [cpu_seconds(pid) for pid in (home.sandbox_pid, *pids)]
        began = time.monotonic()
        time.sleep(seconds)
        if not wait_until(lambda: has_bulk_after(home, seconds), LATE_SECONDS):
            raise RuntimeError(f"no bulk request for {LATE_SECONDS:g} s: is the queue too short?")
        took = time.monotonic() - began
        after = [cpu_seconds(pid) for pid in (home.sandbox_pid, *pids)]
    shares = [f"{(b - a) / took:.0%}" for a, b in zip(before, after, strict=True)]
    return f"CPU: sandbox {shares[0]}, workers {', '.join(shares[1:])}"


def _run(variant: Variant, queued: int, seconds: float, *, bulk: bool) -> Run:
    with house() as home:
        Producer(home.settings).enqueue_many(orders(queued), bulk=bulk)
        home.set(latency_seconds=variant.latency_seconds)
        shares = _measure(home, variant, seconds)
        # The workers have ended: nothing is under way any more.
        log, summary = requests_of(home), home.sandbox("summary")
    accepted = sum(one["items"] for one in log if one["status"] == "202")
    run = Run(use_of(log, seconds), summary["throttled"], accepted - summary["events"])
    print(
        f"  {variant}: {run.use.requests} bulk requests with {run.use.events:,} events in"
        f" {run.use.seconds:.1f} s, {run.use.share:.1%} of the limit, {run.throttled} 429s,"
        f" {run.repeated} repeated; {shares}"
    )
    return run


def run(
    queued: int = QUEUED,
    seconds: float = SECONDS,
    variants: Sequence[Variant] = VARIANTS,
    *,
    bulk: bool = True,
) -> list[Figure]:
    """Smaller figures are for trying the benchmark out: under a minute the burst limit rules.

    Args:
        bulk: load into the low-priority lane, as enqueue_many does by default; it leaves a part of
            the limit to live events, so this is the harder way.
    """
    runs = {variant: _run(variant, queued, seconds, bulk=bulk) for variant in variants}
    figures = [
        Figure(
            f"Klaviyo's steady limit used by a backlog: {variant}",
            f"{one.use.share:.1%}",
            "≥ 95 %",
            one.use.share >= 0.95 and one.repeated == 0,
        )
        for variant, one in runs.items()
    ]
    throttled = sum(one.throttled for one in runs.values())
    return [*figures, Figure("429s in these runs", str(throttled), "0", throttled == 0)]
