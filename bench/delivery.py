"""A backlog through a real worker: requests used, and the worker's CPU an event, beside Celery's.

    python -m bench delivery

The CPU is measured without Klaviyo's limits, which is kind to the peers: no 429, no waiting, no
second attempt. Every round has a house of its own for each of them, and they take turns.
"""

from __future__ import annotations

from bench.order import orders
from bench.peers import DELIVERING, FIRST, RELAY, calls
from bench.peers.peer import Peer
from bench.peers.workers import place, worker
from bench.stage import (
    Figure,
    House,
    Measurement,
    Result,
    cpu_seconds,
    house,
    median,
    peak_megabytes,
    resident_megabytes,
    size,
)
from klaviyo_relay import Producer

QUEUED = 10_000
FLOOD = size(100_000, 20_000)
PEER_FLOOD = size(1_500, 300)
ROUNDS = size(3, 1)
PEERS = tuple(peer for peer in DELIVERING if peer is not RELAY)
SHARE_AT_MOST = 1 / 20


def _backlog(home: House) -> int:
    """Bulk requests for 10,000 events that were queued before the worker began, limits on."""
    Producer(home.settings).enqueue_many(orders(QUEUED), bulk=False)
    with home.worker():
        home.sandbox("wait", events=QUEUED, timeout=120)
    # Asked once the worker has ended: the last request is counted after its events.
    summary = home.sandbox("summary")
    return sum(summary["requests"]["POST /api/event-bulk-create-jobs"].values())


def _flood(home: House) -> tuple[float, float, float]:
    """The worker's CPU an event in µs, limits off, its resident memory and the peak, in MB."""
    home.set(limits=False)
    # The worker goes on counting Klaviyo's limits: 100 requests for 100,000 events are within them.
    producer = Producer(home.settings)
    already = home.sandbox("summary")["events"]
    with home.worker() as process:
        producer.track("Warm-up", email="ada@lovelace.dev")
        home.sandbox("wait", events=already + 1, timeout=60)
        before = cpu_seconds(process.pid)
        producer.enqueue_many(orders(FLOOD), bulk=False)
        home.sandbox("wait", events=already + 1 + FLOOD, timeout=600)
        spent = cpu_seconds(process.pid) - before
        memory, peak = resident_megabytes(process.pid), peak_megabytes(process.pid)
    producer.close()
    return spent / FLOOD * 1e6, memory, peak


def _peer_flood(peer: Peer) -> tuple[float, float]:
    """The same of a peer: CPU an event in µs, peak memory of all its processes in MB."""
    with house() as home:
        home.set(limits=False)
        calls.fill(peer, 1, place(home))
        with worker(peer, home) as working:
            home.sandbox("wait", events=1, timeout=60)
            before = working.cpu_seconds()
            calls.fill(peer, PEER_FLOOD, place(home))
            home.sandbox("wait", events=1 + PEER_FLOOD, timeout=600)
            spent = working.cpu_seconds() - before
            return spent / PEER_FLOOD * 1e6, working.peak_megabytes()


def _round(number: int, found: dict[str, list[tuple[float, float]]]) -> tuple[int, float]:
    """One turn of all; the bulk requests and the resident memory of klaviyo-relay."""
    with house() as home:
        requests = _backlog(home)
        cpu, resident, peak = _flood(home)
    found[RELAY.name].append((cpu, peak))
    for peer in PEERS:
        found[peer.name].append(_peer_flood(peer))
    print(f"  round {number + 1}: {requests} bulk requests, {resident:.0f} MB resident")
    for name, rounds in found.items():
        print(f"    {name:24}{rounds[-1][0]:8.1f} µs CPU an event, {rounds[-1][1]:.0f} MB at most")
    return requests, resident


def run() -> list[Result]:
    found: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in DELIVERING}
    rounds = [_round(number, found) for number in range(ROUNDS)]
    cpu = {name: tuple(one[0] for one in values) for name, values in found.items()}
    measured = [Measurement(name, "cpu", values) for name, values in cpu.items()]
    measured += [
        Measurement(name, "memory", tuple(one[1] for one in values))
        for name, values in found.items()
    ]
    return [*measured, *_figures(*zip(*rounds, strict=True), cpu=cpu)]


def _figures(
    requests: tuple[int, ...], resident: tuple[float, ...], cpu: dict[str, tuple[float, ...]]
) -> list[Figure]:
    ours, theirs = cpu[RELAY.name], median(cpu[FIRST.name])
    share = median(ours) / theirs
    return [
        Figure(
            f"bulk requests for {QUEUED:,} queued events, limits on",
            str(max(requests)),
            "≤ 12",
            max(requests) <= 12,
        ),
        Figure(
            "worker CPU an event in bulk, limits off",
            f"{median(ours):.1f} µs ({min(ours):.1f}-{max(ours):.1f})",
            "≤ 25 µs",
            median(ours) <= 25,
        ),
        Figure(
            "the same, of Celery's with the official SDK",
            f"1/{1 / share:.0f} ({median(ours):.1f} of {theirs:,.0f} µs)",
            "≤ 1/20",
            share <= SHARE_AT_MOST,
        ),
        Figure(
            "resident memory of the worker after it",
            f"{max(resident):.0f} MB",
            "≤ 120 MB",
            max(resident) <= 120,
        ),
    ]
