"""Memory: a worker's at backlogs of 10,000 to 1,000,000 events, and Redis's for a queued command.

    python -m bench memory

Each backlog gets a worker of its own and is topped up while the worker works, until 300,000 events
have been delivered: all three have done the same, and only the backlog differs. The figure is the
peak (VmHWM), not what happens to be resident at the end.

The sandbox has its limits off, but a worker counts Klaviyo's limits by itself and would rest most
of the time. So the benchmark deletes that count from Redis many times a second; the worker is as
it is.

Redis's memory is used_memory before and after a load, without the buffers of clients and of the
append-only file, over the commands' compact JSON: without the envelope (id, account, time), which
is ours, and for comparison with it. The peers' is measured alike, of calls of theirs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
from redis import Redis

from bench.order import orders
from bench.peers import CALLED, RELAY, calls
from bench.peers.peer import Peer, Place
from bench.stage import (
    Figure,
    House,
    Measurement,
    Result,
    cpu_seconds,
    home,
    house,
    peak_megabytes,
    resident_megabytes,
    size,
)
from klaviyo_relay import Producer, Settings
from klaviyo_relay.envelope import BULK_SUFFIX
from klaviyo_relay.keys import Keys
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.limits import BULK_CREATE_EVENTS

BACKLOGS = (10_000, 100_000, size(1_000_000, 200_000))
DELIVERED = size(300_000, 30_000)
STORED = size(100_000, 10_000)
PEER_STORED = size(5_000, 1_000)
TIMEOUT_SECONDS = 600.0
_FORGET_SECONDS = 0.05
_TOP_UP_SECONDS = 0.05
_BUFFERS = ("mem_aof_buffer", "mem_clients_normal")


class Worked(NamedTuple):
    """A worker after its work: memory in MB, CPU in µs an event."""

    peak: float
    at_end: float
    cpu: float


@contextmanager
def _again_and_again(what: Any, seconds: float) -> Iterator[None]:
    """Do something every so many seconds, in a thread, as long as the block lasts."""
    over = threading.Event()
    failures: list[Exception] = []

    def repeat() -> None:
        try:
            while not over.wait(seconds):
                what()
        except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
            failures.append(error)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]


def _forget_quota(redis: Redis) -> None:
    redis.delete(Keys().quota("default", BULK_CREATE_EVENTS).times)


def _top_up(redis: Redis, producer: Producer, backlog: int) -> None:
    waiting: Any = redis.xlen(Keys().lane("default", f"events{BULK_SUFFIX}").stream)
    if waiting < backlog:
        producer.enqueue_many(orders(backlog - waiting))


def _work(home: House, backlog: int, delivered: int) -> Worked:
    home.set(limits=False)
    redis, producer = connect(home.redis_url), Producer(home.settings)
    producer.enqueue_many(orders(backlog))
    with (
        _again_and_again(lambda: _forget_quota(redis), _FORGET_SECONDS),
        _again_and_again(lambda: _top_up(redis, producer, backlog), _TOP_UP_SECONDS),
        home.worker() as worker,
    ):
        home.sandbox("wait", events=1, timeout=60)
        already, before = home.sandbox("summary")["events"], cpu_seconds(worker.pid)
        began = time.monotonic()
        summary = home.sandbox("wait", events=delivered, timeout=TIMEOUT_SECONDS)
        took = time.monotonic() - began
        spent = cpu_seconds(worker.pid) - before
        found = Worked(
            peak_megabytes(worker.pid),
            resident_megabytes(worker.pid),
            spent / (summary["events"] - already) * 1e6,
        )
    redis.close()
    print(
        f"  backlog {backlog:,}: peak {found.peak:.1f} MB, {found.at_end:.1f} MB at the end,"
        f" {found.cpu:.1f} µs CPU an event, {delivered / took:,.0f} events a second"
    )
    return found


def _stored_bytes(redis: Redis) -> int:
    info: Any = redis.info("memory")
    return int(info["used_memory"]) - sum(int(info[buffer]) for buffer in _BUFFERS)


def _bytes_a_command(stored: int) -> tuple[float, float, float]:
    """In Redis; as compact JSON without the envelope; and with it."""
    with home() as path, PrivateRedis(path / "redis") as server:
        redis = connect(server.url)
        redis.ping()
        before = _stored_bytes(redis)
        settings = Settings(redis_url=server.url, spool_dir=path / "spool")
        Producer(settings).enqueue_many(orders(stored))
        in_redis = (_stored_bytes(redis) - before) / stored
        entries: Any = redis.xrange(Keys().lane("default", f"events{BULK_SUFFIX}").stream)
        redis.close()
    enveloped = sum(len(fields[b"e"]) for _, fields in entries) / stored
    alone = sum(len(msgspec.json.encode(command)) for command in orders(stored)) / stored
    return in_redis, alone, enveloped


def _peer_bytes(peer: Peer) -> float:
    """In Redis, for each call."""
    with home() as path, PrivateRedis(path / "redis") as server:
        redis = connect(server.url)
        place = Place(server.url, str(path))
        # The first call makes what there is only once.
        calls.fill(peer, 1, place)
        before = _stored_bytes(redis)
        calls.fill(peer, PEER_STORED, place)
        found = (_stored_bytes(redis) - before) / PEER_STORED
        redis.close()
    print(f"  {peer.name}: {found:.0f} B a call")
    return found


def _measurements(worked: Sequence[Worked], in_redis: float) -> list[Measurement]:
    bytes_of = {RELAY.name: in_redis}
    for peer in CALLED:
        if peer.uses_redis and peer is not RELAY:
            bytes_of[peer.name] = _peer_bytes(peer)
    return [
        Measurement(RELAY.name, "backlog cpu", tuple(one.cpu for one in worked)),
        Measurement(RELAY.name, "backlog memory", tuple(one.peak for one in worked)),
        *(Measurement(name, "bytes", (value,)) for name, value in bytes_of.items()),
    ]


def run(
    backlogs: Sequence[int] = BACKLOGS, delivered: int = DELIVERED, stored: int = STORED
) -> list[Result]:
    """Smaller figures are for trying the benchmark out."""
    worked = []
    for backlog in backlogs:
        with house() as home:
            worked.append(_work(home, backlog, delivered))
    peaks = [one.peak for one in worked]
    growth, dearer = peaks[-1] / peaks[0], worked[-1].cpu / worked[0].cpu
    in_redis, alone, enveloped = _bytes_a_command(stored)
    print(
        f"  in Redis {in_redis:.0f} B a command; its compact JSON {alone:.0f} B,"
        f" {enveloped:.0f} B with the envelope"
    )
    return [
        *_measurements(worked, in_redis),
        Figure(
            f"peak memory of a worker at a backlog of {backlogs[-1]:,}",
            f"{peaks[-1]:.0f} MB",
            "≤ 120 MB",
            max(peaks) <= 120,
        ),
        Figure(
            f"the same, of one at a backlog of {backlogs[0]:,}",
            f"{growth:.2f}x",
            "≤ 1.1x",
            growth <= 1.1,
        ),
        Figure(
            f"worker CPU an event at a backlog of {backlogs[-1]:,}, of one at {backlogs[0]:,}",
            f"{dearer:.2f}x ({worked[-1].cpu:.1f} of {worked[0].cpu:.1f} µs)",
            "≤ 1.2x",
            dearer <= 1.2,
        ),
        Figure(
            "bytes of a queued command in Redis, of its compact JSON",
            f"{in_redis / alone:.2f}x ({in_redis:.0f} of {alone:.0f} B)",
            "≤ 1.5x",
            in_redis / alone <= 1.5,
        ),
    ]
