"""klaviyo-relay and its peers under Klaviyo's limits: events a second, requests, 429s.

    python -m bench limited

Each has a Redis, a sandbox with the limits on, and one worker with 16 threads. All run at the same
time: the limits hold them up, not the processors, and so all have the same two minutes. Peers may
send 350 single requests a second and 3,500 a minute; klaviyo-relay loads with enqueue_many and
sends bulk requests. A peer without a single 429 was held up by something else, such as a busy
machine; so the ratio is to what the limit allows, wherever that is more than what was measured.

Klaviyo's windows begin with the clock's minutes. A peer sends as much as it can at the start of
each, so what two whole minutes of the clock see is its rate. klaviyo-relay counts sliding minutes
of its own; its rate is measured as in bench/steady.py, from one bulk request to another, so that it
does not matter where in its rhythm the minutes begin.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import NamedTuple

from bench.order import orders
from bench.peers import DELIVERING, FIRST, RELAY, calls
from bench.peers.peer import Peer
from bench.peers.workers import Worker, place, worker
from bench.stage import Figure, House, Measurement, Result, house, size, wait_until
from bench.steady import BULK_MOST, STEADY_A_MINUTE, has_bulk_after, requests_of, use_of
from klaviyo_relay import Producer

MINUTE = 60
SECONDS = size(120, 12)
# Three minutes' worth: the first of them is over before the measurement begins.
SINGLES = size(11_500, 7_000)
BULK = size(480_000, 200_000)
SINGLE_A_MINUTE = 3_500
WARM_UP_SECONDS = size(12, 4)
LATE_SECONDS = 60.0
# Another pool of processes does not change what the limits allow.
PEERS = tuple(peer for peer in DELIVERING if not peer.is_variant)
RATIO_AT_LEAST, SHARE_AT_LEAST = 40.0, 0.95


class Look(NamedTuple):
    """What a sandbox and a worker had done at some moment."""

    at: float
    events: int
    requests: int
    throttled: int
    cpu: float


class Stand(NamedTuple):
    """A peer with its house and its worker."""

    peer: Peer
    home: House
    worker: Worker

    def look(self) -> Look:
        summary = self.home.sandbox("summary")
        requests = sum(sum(one.values()) for one in summary["requests"].values())
        done = (summary["events"], requests, summary["throttled"], self.worker.cpu_seconds())
        return Look(time.monotonic(), *done)


def _fill(peer: Peer, home: House) -> None:
    if peer is RELAY:
        Producer(home.settings).enqueue_many(orders(BULK))
    else:
        calls.fill(peer, SINGLES, place(home))


def _stands(stack: ExitStack) -> list[Stand]:
    houses = [(peer, stack.enter_context(house())) for peer in PEERS]
    for peer, home in houses:
        _fill(peer, home)
    return [Stand(peer, home, stack.enter_context(worker(peer, home))) for peer, home in houses]


def _await_minute() -> None:
    """Until a minute of the clock begins, once the workers have begun."""
    time.sleep(WARM_UP_SECONDS)
    if SECONDS >= MINUTE:
        time.sleep(MINUTE - time.time() % MINUTE)


def _relay_rate(stand: Stand) -> float:
    if not wait_until(lambda: has_bulk_after(stand.home, SECONDS), LATE_SECONDS):
        raise RuntimeError("klaviyo-relay did not go on: is the queue too short?")
    use = use_of(requests_of(stand.home), SECONDS)
    return use.events / use.seconds


def _measurements(stand: Stand, before: Look, after: Look) -> list[Measurement]:
    events, seconds = after.events - before.events, after.at - before.at
    is_relay = stand.peer is RELAY
    found = {
        "limited events": events,
        "rate": _relay_rate(stand) if is_relay else events / seconds,
        "requests": (after.requests - before.requests) / events * 1e6,
        "throttled": (after.throttled - before.throttled) / events * 1e6,
        "limited cpu": (after.cpu - before.cpu) / events * 1e6,
    }
    print(
        f"  {stand.peer.name:24}{found['rate']:8,.1f} events a second,"
        f" {found['requests']:11,.0f} requests and {found['throttled']:9,.0f} 429s a million,"
        f" {found['limited cpu']:7,.1f} µs CPU an event,"
        f" CPU {(after.cpu - before.cpu) / seconds:.0%}"
    )
    return [Measurement(stand.peer.name, what, (value,)) for what, value in found.items()]


def _ratio_figure(rates: dict[str, float]) -> Figure:
    ours, theirs = rates[RELAY.name], max(rates[FIRST.name], SINGLE_A_MINUTE / MINUTE)
    return Figure(
        "events a second under Klaviyo's limits, of Celery with the official SDK",
        f"{ours / theirs:.1f}x ({ours:,.0f} of {theirs:,.1f})",
        f"≥ {RATIO_AT_LEAST:g}x",
        ours / theirs >= RATIO_AT_LEAST,
    )


def _share_figure(rate: float) -> Figure:
    share = rate / (STEADY_A_MINUTE * BULK_MOST / MINUTE)
    return Figure(
        "Klaviyo's steady limit used by a backlog: 1 worker, beside its peers",
        f"{share:.1%}",
        "≥ 95 %",
        share >= SHARE_AT_LEAST,
    )


def run() -> list[Result]:
    with ExitStack() as stack:
        stands = _stands(stack)
        _await_minute()
        before = [stand.look() for stand in stands]
        time.sleep(SECONDS)
        after = [stand.look() for stand in stands]
        found = [
            one
            for stand, first, last in zip(stands, before, after, strict=True)
            for one in _measurements(stand, first, last)
        ]
    rates = {one.who: one.middle for one in found if one.what == "rate"}
    return [*found, _ratio_figure(rates), _share_figure(rates[RELAY.name])]
