"""track() beside its peers, each in a process of its own, interleaved, in one run.

    python -m bench enqueue

How each peer is set up stands in bench/peers. A flood is one call after the other; the senders of
segment, posthog and rudder send to a server on loopback meanwhile, as klaviyo-relay's shipper ships
to Redis. With Redis stopped (SIGSTOP) a peer of which no call has succeeded when Redis goes on is
said to block. Kills come right after the last call had returned.
"""

from __future__ import annotations

import subprocess
import time
from math import inf
from typing import NamedTuple

from bench.peers import BY_NAME, CALLED, RELAY, calls
from bench.peers.peer import Peer, Place
from bench.peers.sink import sink_process
from bench.stage import Figure, Measurement, Result, home, median, size
from klaviyo_relay_worker.embedded import PrivateRedis

ROUNDS = size(5, 1)
PACED_ROUNDS = size(3, 1)
PACED_CALLS = size(2_500, 500)
STOPPED_SECONDS = size(30, 4)
KILLED_AFTER = 10_000
# klaviyo-relay promises that nothing is lost, so it is looked at more often.
KILLS, PEER_KILLS = size(20, 2), size(3, 1)
PACED = ("relay", "redis")

Quantiles = dict[str, float]
ByPeer = dict[str, list[Quantiles]]


class Scene(NamedTuple):
    """What all of them call into."""

    server: PrivateRedis
    directory: str
    sink_url: str

    def place(self, name: str) -> Place:
        return Place(self.server.url, f"{self.directory}/{name}", self.sink_url)


def _middle(rounds: list[Quantiles]) -> Quantiles:
    return {name: median([one[name] for one in rounds]) for name in rounds[0]}


def _middles(rounds: ByPeer) -> dict[str, Quantiles]:
    return {name: _middle(values) for name, values in rounds.items()}


def _say(what: str, numbers: Quantiles) -> None:
    print(f"  {what:36}" + "  ".join(f"{name} {value:7.1f} µs" for name, value in numbers.items()))


def _flood(scene: Scene) -> ByPeer:
    rounds: ByPeer = {peer.name: [] for peer in CALLED}
    for number in range(ROUNDS):
        for peer in CALLED[:: -1 if number % 2 else 1]:
            place = scene.place(peer.name)
            rounds[peer.name].append(calls.run(peer, "flood", peer.calls, place))
    for name, numbers in _middles(rounds).items():
        _say(f"{name}, flood", numbers)
    return rounds


def _paced(scene: Scene) -> dict[str, Quantiles]:
    rounds: ByPeer = {name: [] for name in PACED}
    for number in range(PACED_ROUNDS):
        for name in PACED[:: -1 if number % 2 else 1]:
            found = calls.run(BY_NAME[name], "paced", PACED_CALLS, scene.place(name))
            rounds[name].append(found)
    found_of = _middles(rounds)
    for name, numbers in found_of.items():
        _say(f"{name}, 500 a second", numbers)
    return found_of


def _four(scene: Scene) -> dict[str, Quantiles]:
    found = {}
    for name in PACED:
        place = scene.place(name)
        started = [calls.start(BY_NAME[name], "paced", PACED_CALLS, place) for _ in range(4)]
        found[name] = _middle([calls.finished(process) for process in started])
        _say(f"{name}, 4 processes at 500 a second", found[name])
    return found


def _stopped(scene: Scene) -> ByPeer:
    """klaviyo-relay again and again as long as Redis stands still, the others once."""
    others = [peer for peer in CALLED if peer.uses_redis and peer is not RELAY]
    scene.server.pause()
    started = {
        peer.name: calls.start(peer, "stopped", peer.calls, scene.place(peer.name))
        for peer in others
    }
    try:
        rounds = {RELAY.name: _stopped_rounds(scene)}
        for name, process in started.items():
            rounds[name] = [_blocked_or(process)]
    finally:
        for process in started.values():
            process.kill()
        scene.server.resume()
    for name, numbers in _middles(rounds).items():
        _say(f"{name}, flood, Redis stopped", numbers)
    return rounds


def _stopped_rounds(scene: Scene) -> list[Quantiles]:
    until = time.monotonic() + STOPPED_SECONDS
    found = []
    while not found or time.monotonic() < until:
        found.append(calls.run(RELAY, "stopped", RELAY.calls, scene.place(RELAY.name)))
    return found


def _blocked_or(process: subprocess.Popen[str]) -> Quantiles:
    return calls.result(process, 0.0) or dict.fromkeys(calls.QUANTILES, inf)


def _killed(scene: Scene) -> dict[str, list[int]]:
    """Of each peer, how many orders were lost in each kill; of klaviyo-relay in all of them."""
    lost: dict[str, list[int]] = {peer.name: [] for peer in CALLED}
    for _ in range(PEER_KILLS):
        for peer in CALLED:
            if peer is not RELAY:
                lost[peer.name].append(_lost(scene, peer, min(KILLED_AFTER, peer.calls), 1))
    lost[RELAY.name].append(_lost(scene, RELAY, KILLED_AFTER, KILLS))
    print(f"  lost in kill -9: {lost}")
    return lost


def _lost(scene: Scene, peer: Peer, count: int, kills: int) -> int:
    place = scene.place(f"{peer.name}-killed")
    before = peer.arrived(place)
    for _ in range(kills):
        with calls.start(peer, "kill", count, place) as process:
            process.wait(calls.TIMEOUT_SECONDS)
    return count * kills - (peer.arrived(place) - before)


def run() -> list[Result]:
    with home() as path, PrivateRedis(path / "redis") as server, sink_process() as sink_url:
        scene = Scene(server, str(path), sink_url)
        flood = _flood(scene)
        paced, four = _paced(scene), _four(scene)
        stopped = _stopped(scene)
        lost = _killed(scene)
    middle = _middles(flood)
    return [
        *_measurements(flood, ""),
        *_measurements(stopped, "stopped "),
        *_lost_measurements(lost),
        *_flood_figures(middle),
        *_paced_figures(paced, four),
        *_stopped_figures(middle, _middles(stopped)),
        _lost_figure(lost[RELAY.name][0]),
    ]


def _measurements(rounds: ByPeer, prefix: str) -> list[Measurement]:
    return [
        Measurement(name, f"{prefix}{quantile}", tuple(one[quantile] for one in values))
        for name, values in rounds.items()
        for quantile in ("p50", "p99")
    ]


def _lost_measurements(lost: dict[str, list[int]]) -> list[Measurement]:
    """In per cent of the calls."""
    return [
        Measurement(name, "lost", tuple(one / _killed_calls(name) * 100 for one in values))
        for name, values in lost.items()
    ]


def _killed_calls(name: str) -> int:
    peer = BY_NAME[name]
    return KILLED_AFTER * KILLS if peer is RELAY else min(KILLED_AFTER, peer.calls)


def _flood_figures(flood: dict[str, Quantiles]) -> list[Figure]:
    track, rpush = flood["relay"], flood["redis"]
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
    for peer in ("celery-sdk", "segment"):
        ratio = track["p50"] / flood[peer]["p50"]
        what = f"track() p50 in a flood, of {peer}"
        figures.append(
            Figure(what, f"{ratio:.2f}x of {flood[peer]['p50']:.0f} µs", "-", is_reached=True)
        )
    return figures


def _paced_figures(paced: dict[str, Quantiles], four: dict[str, Quantiles]) -> list[Figure]:
    figures = []
    for name in ("p50", "p99"):
        ours, theirs = paced["relay"][name], paced["redis"][name]
        figures.append(
            Figure(
                f"track() {name} at 500 a second, of RPUSH alike",
                f"{ours / theirs:.2f}x ({ours:.0f} of {theirs:.0f} µs)",
                "≤ 1x",
                ours <= theirs,
            )
        )
    ours, theirs = four["relay"]["p99"], four["redis"]["p99"]
    figures.append(
        Figure(
            "track() p99, four processes at 500 a second each, of RPUSH alike",
            f"{ours / theirs:.2f}x ({ours:.0f} of {theirs:.0f} µs)",
            "≤ 1x",
            ours <= theirs,
        )
    )
    return figures


def _stopped_figures(flood: dict[str, Quantiles], stopped: dict[str, Quantiles]) -> list[Figure]:
    ratio = stopped["relay"]["p50"] / flood["relay"]["p50"]
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
