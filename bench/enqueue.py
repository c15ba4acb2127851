"""track() beside its peers, each in a process of its own, interleaved, in one run.

    python -m bench enqueue

Peers: a redis-py RPUSH of the same envelope (the floor of whatever puts a command into Redis in the
call), Celery's send_task of the same command, and segment-analytics-python's queue in memory (which
drops what is over 10,000; its own limit is raised here so that it can take part).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.stage import PROPERTIES, Figure, home, median, percentile
from klaviyo_relay_worker.embedded import PrivateRedis

ROUNDS = 5
CALLS = {"track": 20_000, "rpush": 20_000, "send_task": 2_000, "segment": 20_000}
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
PACED_CALLS, PACED_PER_SECOND = 2_500, 500
STOPPED_SECONDS = 30
KILLS, KILLED_AFTER = 20, 10_000
ORDER: dict[str, Any] = {
    "email": "ada@lovelace.dev",
    "properties": PROPERTIES,
    "value": 23.99,
    "value_currency": "USD",
}


def _track(redis_url: str, spool_dir: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    from klaviyo_relay import Producer, Settings

    producer = Producer(Settings(redis_url=redis_url, spool_dir=Path(spool_dir)))
    return lambda: producer.track("Placed Order", **ORDER), lambda: producer.close(60)


def _rpush(redis_url: str, _: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    import redis

    from klaviyo_relay import Track
    from klaviyo_relay.envelope import Envelope, encode, new_id

    client = redis.Redis.from_url(redis_url)
    command = Track(metric="Placed Order", **ORDER)
    at = time.time_ns() // 1_000_000
    body = encode(Envelope(id=new_id(), account="default", at=at, command=command))
    return lambda: client.rpush("bench", body), client.close


def _send_task(redis_url: str, _: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    from celery import Celery

    app = Celery(broker=redis_url)
    app.conf.task_ignore_result = True
    kwargs = {"metric": "Placed Order", **ORDER}
    return lambda: app.send_task("bench.track", kwargs=kwargs, queue="bench-celery"), app.close


def _segment(_: str, __: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    from segment.analytics import Client

    # Nothing listens there: a queue in memory is all that is measured.
    client = Client("key", host="http://127.0.0.1:9", max_queue_size=1_000_000, send=False)
    properties = {**PROPERTIES, "value": 23.99, "currency": "USD"}
    return lambda: client.track("ada", "Placed Order", properties), lambda: None


_PEERS = {"track": _track, "rpush": _rpush, "send_task": _send_task, "segment": _segment}


def child(what: str, mode: str, redis_url: str, spool_dir: str) -> None:
    """One process: calls in a flood, or paced; prints quantiles in µs."""
    call, close = _PEERS[what](redis_url, spool_dir)
    call()
    clock = time.perf_counter
    pause = 1 / PACED_PER_SECOND if mode == "paced" else 0.0
    calls = PACED_CALLS if mode == "paced" else CALLS[what]
    took = []
    due = clock()
    for _ in range(calls):
        if pause:
            due += pause
            time.sleep(max(0.0, due - clock()))
        began = clock()
        call()
        took.append((clock() - began) * 1e6)
    found = {name: percentile(took, share) for name, share in QUANTILES.items()}
    print(json.dumps(found), flush=True)
    if mode != "stopped":
        close()
    os._exit(0)


def kill_child(redis_url: str, spool_dir: str) -> None:
    """Calls, and then dies by SIGKILL, having said nothing to anybody."""
    call, _ = _track(redis_url, spool_dir)
    for _ in range(KILLED_AFTER):
        call()
    os.kill(os.getpid(), signal.SIGKILL)


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.enqueue", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _result(process: subprocess.Popen[str]) -> dict[str, float]:
    output, _ = process.communicate(timeout=600)
    found: dict[str, float] = json.loads(output)
    return found


def _middle(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: median([one[name] for one in rounds]) for name in QUANTILES}


def _say(what: str, numbers: dict[str, float]) -> None:
    print(f"  {what:32}" + "  ".join(f"{name} {value:7.1f} µs" for name, value in numbers.items()))


def run() -> list[Figure]:
    with home() as path, PrivateRedis(path / "redis") as server:
        spool = str(path / "spool")
        flood = _flood(server, spool)
        paced = _paced(server, spool)
        four = _four(server, spool)
        stopped = _stopped(server, spool)
        lost = _killed(server, spool)
    figures = [*_flood_figures(flood), *_paced_figures(paced, four)]
    return [*figures, *_stopped_figures(flood, stopped), _lost_figure(lost)]


def _flood(server: PrivateRedis, spool: str) -> dict[str, dict[str, float]]:
    rounds: dict[str, list[dict[str, float]]] = {what: [] for what in _PEERS}
    for number in range(ROUNDS):
        for what in sorted(_PEERS, reverse=bool(number % 2)):
            rounds[what].append(_result(_start(what, "flood", server.url, spool)))
    found = {what: _middle(numbers) for what, numbers in rounds.items()}
    for what, numbers in found.items():
        _say(f"{what}, flood", numbers)
    return found


def _paced(server: PrivateRedis, spool: str) -> dict[str, dict[str, float]]:
    rounds: dict[str, list[dict[str, float]]] = {"track": [], "rpush": []}
    for number in range(3):
        for what in sorted(rounds, reverse=bool(number % 2)):
            rounds[what].append(_result(_start(what, "paced", server.url, spool)))
    found = {what: _middle(numbers) for what, numbers in rounds.items()}
    for what, numbers in found.items():
        _say(f"{what}, 500 a second", numbers)
    return found


def _four(server: PrivateRedis, spool: str) -> dict[str, dict[str, float]]:
    found = {}
    for what in ("track", "rpush"):
        started = [_start(what, "paced", server.url, spool) for _ in range(4)]
        found[what] = _middle([_result(process) for process in started])
        _say(f"{what}, 4 processes at 500 a second", found[what])
    return found


def _stopped(server: PrivateRedis, spool: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    server.pause()
    try:
        until = time.monotonic() + STOPPED_SECONDS
        rounds = []
        while time.monotonic() < until:
            rounds.append(_result(_start("track", "stopped", server.url, spool)))
        found["flood"] = _middle(rounds)
    finally:
        server.resume()
    _say("track, flood, Redis stopped", found["flood"])
    return found


def _killed(server: PrivateRedis, spool: str) -> int:
    """Commands lost in 20 kills, each right after the 10,000th call had returned."""
    from klaviyo_relay import Settings
    from klaviyo_relay.lane_entrance import LaneEntrance, connect
    from klaviyo_relay.shipper import ship_orphans

    client = connect(server.url)
    settings = Settings(redis_url=server.url, spool_dir=Path(spool))
    entrance = LaneEntrance(client, settings.keys, settings.lane_max_bytes)
    ship_orphans(entrance, settings)
    client.flushall()
    for _ in range(KILLS):
        process = _start("kill", server.url, f"{spool}-killed")
        process.wait(600)
        killed = Settings(redis_url=server.url, spool_dir=Path(f"{spool}-killed"))
        ship_orphans(LaneEntrance(client, killed.keys, killed.lane_max_bytes), killed)
    arrived = int(client.xlen("kr:{default:events}:stream"))
    print(f"  {KILLS} times kill -9 after {KILLED_AFTER:,} calls: {arrived:,} arrived")
    return KILLS * KILLED_AFTER - arrived


def _flood_figures(flood: dict[str, dict[str, float]]) -> list[Figure]:
    track, rpush = flood["track"], flood["rpush"]
    ratio = track["p50"] / rpush["p50"]
    figures = [
        Figure(
            "track() p50 in a flood, of a redis-py RPUSH of its envelope",
            f"{ratio:.2f}x ({track['p50']:.0f} of {rpush['p50']:.0f} µs)",
            "≤ 0.3x",
            ratio <= 0.3,
        ),
        Figure(
            "track() p99 in a flood",
            f"{track['p99']:.0f} µs",
            "≤ 1,000 µs",
            track["p99"] <= 1000,
        ),
    ]
    for peer in ("send_task", "segment"):
        ratio = track["p50"] / flood[peer]["p50"]
        what = f"track() p50 in a flood, of {peer}"
        figures.append(
            Figure(what, f"{ratio:.2f}x of {flood[peer]['p50']:.0f} µs", "-", is_reached=True)
        )
    return figures


def _paced_figures(
    paced: dict[str, dict[str, float]], four: dict[str, dict[str, float]]
) -> list[Figure]:
    figures = []
    for name in ("p50", "p99"):
        ours, theirs = paced["track"][name], paced["rpush"][name]
        figures.append(
            Figure(
                f"track() {name} at 500 a second, of RPUSH alike",
                f"{ours / theirs:.2f}x ({ours:.0f} of {theirs:.0f} µs)",
                "≤ 1x",
                ours <= theirs,
            )
        )
    ours, theirs = four["track"]["p99"], four["rpush"]["p99"]
    figures.append(
        Figure(
            "track() p99, four processes at 500 a second each, of RPUSH alike",
            f"{ours / theirs:.2f}x ({ours:.0f} of {theirs:.0f} µs)",
            "≤ 1x",
            ours <= theirs,
        )
    )
    return figures


def _stopped_figures(
    flood: dict[str, dict[str, float]], stopped: dict[str, dict[str, float]]
) -> list[Figure]:
    ratio = stopped["flood"]["p50"] / flood["track"]["p50"]
    return [
        Figure(
            f"track() p50 in a flood with Redis stopped for {STOPPED_SECONDS} s, of itself",
            f"{ratio:.2f}x",
            "≤ 1.2x",
            ratio <= 1.2,
        )
    ]


def _lost_figure(lost: int) -> Figure:
    what = f"commands lost in {KILLS} kill -9 of {KILLED_AFTER:,} each"
    return Figure(what, str(lost), "0", lost == 0)


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        kill_child(*sys.argv[2:])
    child(*sys.argv[1:])
