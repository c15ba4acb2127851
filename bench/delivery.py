"""A backlog through a real worker: requests used, and the worker's CPU an event.

python -m bench delivery
"""

from __future__ import annotations

from bench.stage import Figure, House, cpu_seconds, house, median, orders, resident_megabytes
from klaviyo_relay import Producer

QUEUED = 10_000
FLOOD = 100_000
ROUNDS = 3


def _backlog(home: House) -> int:
    """Bulk requests for 10,000 events that were queued before the worker began, limits on."""
    Producer(home.settings).enqueue_many(orders(QUEUED), bulk=False)
    with home.worker():
        home.sandbox("wait", events=QUEUED, timeout=120)
    # Asked once the worker has ended: the last request is counted after its events.
    summary = home.sandbox("summary")
    return sum(summary["requests"]["POST /api/event-bulk-create-jobs"].values())


def _flood(home: House) -> tuple[float, float]:
    """The worker's CPU an event in µs, limits off, and its resident memory in MB."""
    home.set(limits=False)
    # The worker goes on counting Klaviyo's limits: 100 requests for 100,000 events are within them.
    producer = Producer(home.settings)
    already = home.sandbox("summary")["events"]
    with home.worker() as worker:
        producer.track("Warm-up", email="ada@lovelace.dev")
        home.sandbox("wait", events=already + 1, timeout=60)
        before = cpu_seconds(worker.pid)
        producer.enqueue_many(orders(FLOOD), bulk=False)
        home.sandbox("wait", events=already + 1 + FLOOD, timeout=600)
        spent = cpu_seconds(worker.pid) - before
        memory = resident_megabytes(worker.pid)
    producer.close()
    return spent / FLOOD * 1e6, memory


def run() -> list[Figure]:
    requests, spent, memory = [], [], []
    for number in range(ROUNDS):
        with house() as home:
            requests.append(_backlog(home))
            cpu, resident = _flood(home)
            spent.append(cpu)
            memory.append(resident)
            print(
                f"  round {number + 1}: {requests[-1]} bulk requests, {cpu:.1f} µs CPU an event,"
                f" {resident:.0f} MB"
            )
    return [
        Figure(
            f"bulk requests for {QUEUED:,} queued events, limits on",
            str(max(requests)),
            "≤ 12",
            max(requests) <= 12,
        ),
        Figure(
            "worker CPU an event in bulk, limits off",
            f"{median(spent):.1f} µs ({min(spent):.1f}-{max(spent):.1f})",
            "≤ 25 µs",
            median(spent) <= 25,
        ),
        Figure(
            "resident memory of the worker after it",
            f"{max(memory):.0f} MB",
            "≤ 120 MB",
            max(memory) <= 120,
        ),
    ]
