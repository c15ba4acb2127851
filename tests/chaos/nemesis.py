"""The nemesis: what goes wrong when, drawn from a seed, and how each fault is done and undone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ground import Ground, Program
from msgspec import Struct
from redis.exceptions import RedisError
from workload import VENOM

ROUND_SECONDS = (2.0, 6.0)
_FOREIGN_KEY = "somebody-elses"
_FOREIGN_BYTES = 1_000_000


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that goes wrong.

    Attributes:
        at: seconds from the beginning of the episode.
        seconds: how long it lasts.
        which: picks the process, where there are several.
        values: what else was drawn.
    """

    name: str
    at: float
    seconds: float
    which: int = 0
    values: dict[str, Any] = {}

    def __str__(self) -> str:
        more = "".join(f" {name}={value}" for name, value in self.values.items())
        return f"{self.at:6.1f} s  {self.name}[{self.which}] for {self.seconds:.1f} s{more}"


Do = Callable[[Ground, Fault], None]


class Kind(Struct, frozen=True):
    """A kind of fault: how often, how long, and what is done at its beginning and its end."""

    weight: int
    seconds: tuple[float, float]
    begin: Do
    end: Do
    draw: Callable[[random.Random], dict[str, Any]] = lambda _: {}


def schedule(seed: str, rounds: int, kinds: tuple[str, ...] = ()) -> list[Fault]:
    """The faults of an episode: one to three a round, in the order in which they begin.

    Args:
        kinds: only these; all by default.
    """
    chance = random.Random(f"{seed}/nemesis")
    names = [name for name in KINDS if not kinds or name in kinds]
    weights = [KINDS[name].weight for name in names]
    faults, began = [], 0.0
    for _ in range(rounds):
        length = chance.uniform(*ROUND_SECONDS)
        for name in chance.choices(names, weights, k=chance.randint(1, 3)):
            kind = KINDS[name]
            seconds = chance.uniform(*kind.seconds)
            at = began + chance.uniform(0, length * 0.7)
            which, values = chance.randrange(100), kind.draw(chance)
            faults.append(
                Fault(
                    name=name,
                    at=round(at, 2),
                    seconds=round(seconds, 2),
                    which=which,
                    values=values,
                )
            )
        began += length
    return sorted(faults, key=lambda fault: fault.at)


# Processes


def _one(programs: list[Program], fault: Fault) -> Program:
    return programs[fault.which % len(programs)]


def _program(of: Callable[[Ground], list[Program]], action: Callable[[Program], None]) -> Do:
    return lambda ground, fault: action(_one(of(ground), fault))


def _producers(ground: Ground) -> list[Program]:
    return ground.producers


def _workers(ground: Ground) -> list[Program]:
    return ground.workers


def _start_sandbox(ground: Ground, _fault: Fault) -> None:
    ground.sandbox.start()
    ground.turn_sandbox()


def _resume_sandbox(ground: Ground, _fault: Fault) -> None:
    ground.sandbox.resume()
    ground.turn_sandbox()


def _kill_redis(ground: Ground, _fault: Fault) -> None:
    ground.redis_server.kill()


def _stop_redis(ground: Ground, _fault: Fault) -> None:
    ground.redis_server.stop()


def _start_redis(ground: Ground, _fault: Fault) -> None:
    ground.redis_server.start()


def _pause_redis(ground: Ground, _fault: Fault) -> None:
    if ground.redis_server.running:
        ground.redis_server.pause()


def _resume_redis(ground: Ground, _fault: Fault) -> None:
    if ground.redis_server.running:
        ground.redis_server.resume()


# The sandbox's rules and settings


def _rule(fault: Fault) -> dict[str, Any]:
    return dict(fault.values)


def _add_rule(ground: Ground, fault: Fault) -> None:
    ground.rules.append(_rule(fault))
    ground.turn_sandbox()


def _remove_rule(ground: Ground, fault: Fault) -> None:
    ground.rules.remove(_rule(fault))
    ground.turn_sandbox()


def _set(ground: Ground, fault: Fault) -> None:
    ground.turn_sandbox(**fault.values)


def _unset(**settings: Any) -> Do:
    return lambda ground, _fault: ground.turn_sandbox(**settings)


def _revoke(ground: Ground, fault: Fault) -> None:
    _add_rule(ground, fault)


def _restore_key(ground: Ground, fault: Fault) -> None:
    """The key is mended; a person says so, or the next probe finds out."""
    _remove_rule(ground, fault)
    if fault.which % 2:
        done = ground.run("resume", "default")
        ground.note(f"resume: {done.returncode} {done.stderr[-200:]}")


# Clocks, memory, people


def _shift(ground: Ground, fault: Fault) -> None:
    ground.shift_clock(fault.values["offset"])


def _shift_back(ground: Ground, _fault: Fault) -> None:
    ground.shift_clock(0.0)


def _squeeze(ground: Ground, fault: Fault) -> None:
    """Somebody else's keys and a limit below what is in use."""
    try:
        ground.redis.set(_FOREIGN_KEY, b"x" * _FOREIGN_BYTES)
        used = ground.redis.info("memory")["used_memory"]
        ground.redis.config_set("maxmemory", int(used * fault.values["share"]))
    except RedisError as error:
        ground.note(f"{fault.name} did not happen: {error}")


def _relieve(ground: Ground, fault: Fault) -> None:
    try:
        ground.redis.config_set("maxmemory", 0)
        ground.redis.delete(_FOREIGN_KEY)
    except RedisError as error:
        ground.note(f"{fault.name} ended by a Redis that was away: {error}")


def _consume(ground: Ground, fault: Fault) -> None:
    ground.consume(fault.values["endpoint"], fault.values["calls"])


def _people(ground: Ground, fault: Fault) -> None:
    """Dead letters are sent again, or one is let go."""
    try:
        letters = sorted(ground.dead(), key=lambda one: one.id)
        if fault.values["what"] == "redrive":
            ground.redrive(letters)
        elif letters:
            letter = letters[fault.which % len(letters)]
            ground.discard([letter])
    except RedisError as error:
        ground.note(f"{fault.name} did not happen: {error}")


def _nothing(_ground: Ground, _fault: Fault) -> None:
    """Some faults end by themselves."""


def _status(chance: random.Random) -> dict[str, Any]:
    return {"status": chance.choice((500, 502, 503)), "probability": chance.choice((0.3, 1.0))}


def _status_in_part(chance: random.Random) -> dict[str, Any]:
    """One endpoint fails and the others do not, so that one lane overtakes another."""
    return {"status": 503, "endpoint": chance.choice(_WRITING)}


def _action(name: str, **values: Any) -> Callable[[random.Random], dict[str, Any]]:
    return lambda chance: {
        "action": name,
        "probability": chance.choice((0.2, 0.6)),
        **{key: round(chance.uniform(*span), 3) for key, span in values.items()},
    }


_WRITING = (
    "POST /api/events",
    "POST /api/event-bulk-create-jobs",
    "POST /api/profile-import",
    "POST /api/profile-bulk-import-jobs",
)
_ENDPOINTS = (
    "POST /api/events",
    "POST /api/event-bulk-create-jobs",
    "POST /api/profile-import",
    "POST /api/profile-bulk-import-jobs",
    "GET /api/profile-bulk-import-jobs/{id}",
    "POST /api/profile-subscription-bulk-create-jobs",
)

_SHORT, _MIDDLE, _LONG = (0.3, 1.5), (1.0, 4.0), (3.0, 6.0)

KINDS: dict[str, Kind] = {
    "kill producer": Kind(
        8, _SHORT, _program(_producers, Program.kill), _program(_producers, Program.start)
    ),
    "pause producer": Kind(
        3, _MIDDLE, _program(_producers, Program.pause), _program(_producers, Program.resume)
    ),
    "restart producer": Kind(
        3, _SHORT, _program(_producers, Program.end), _program(_producers, Program.start)
    ),
    "kill worker": Kind(
        10, _SHORT, _program(_workers, Program.kill), _program(_workers, Program.start)
    ),
    "pause worker": Kind(
        5, _MIDDLE, _program(_workers, Program.pause), _program(_workers, Program.resume)
    ),
    "freeze worker": Kind(
        3, (11.0, 13.0), _program(_workers, Program.pause), _program(_workers, Program.resume)
    ),
    "restart worker": Kind(
        4, _SHORT, _program(_workers, Program.end), _program(_workers, Program.start)
    ),
    "kill Redis": Kind(6, _SHORT, _kill_redis, _start_redis),
    "restart Redis": Kind(3, _SHORT, _stop_redis, _start_redis),
    "pause Redis": Kind(4, _MIDDLE, _pause_redis, _resume_redis),
    "freeze Redis": Kind(2, (5.5, 7.0), _pause_redis, _resume_redis),
    "kill sandbox": Kind(5, _SHORT, lambda g, _: g.sandbox.kill(), _start_sandbox),
    "pause sandbox": Kind(3, _MIDDLE, lambda g, _: g.sandbox.pause(), _resume_sandbox),
    "throttle": Kind(
        5,
        _MIDDLE,
        _add_rule,
        _remove_rule,
        lambda c: {"status": 429, "retry_after": c.randint(1, 3)},
    ),
    "errors": Kind(6, _MIDDLE, _add_rule, _remove_rule, _status),
    "errors in part": Kind(4, _LONG, _add_rule, _remove_rule, _status_in_part),
    "hang": Kind(3, _MIDDLE, _add_rule, _remove_rule, _action("hang", seconds=(3.0, 12.0))),
    "drip": Kind(
        3, _MIDDLE, _add_rule, _remove_rule, _action("drip", seconds_per_byte=(0.01, 0.2))
    ),
    "reset": Kind(5, _MIDDLE, _add_rule, _remove_rule, _action("reset")),
    "lose answers": Kind(8, _MIDDLE, _add_rule, _remove_rule, _action("lose_answer")),
    "delay": Kind(4, _LONG, _add_rule, _remove_rule, _action("delay", seconds=(0.5, 3.0))),
    "revoke key": Kind(
        2, _SHORT, _revoke, _restore_key, lambda c: {"status": c.choice((401, 403))}
    ),
    "venom": Kind(3, _LONG, _add_rule, _remove_rule, lambda _: {"status": 500, "match": VENOM}),
    "slow jobs": Kind(
        3, _LONG, _set, _unset(import_delay_seconds=0.3), lambda _: {"import_delay_seconds": 4.0}
    ),
    "stuck jobs": Kind(3, _LONG, _set, _unset(finish_jobs=True), lambda _: {"finish_jobs": False}),
    "repeats refused": Kind(
        4, _LONG, _set, _unset(repeats="discard"), lambda _: {"repeats": "refuse"}
    ),
    "worker clock": Kind(
        3, _LONG, _shift, _shift_back, lambda c: {"offset": c.choice((3600.0, -3600.0))}
    ),
    "sandbox clock": Kind(
        2,
        _LONG,
        _set,
        _unset(clock_offset_seconds=0.0),
        lambda c: {"clock_offset_seconds": c.choice((3600.0, -3600.0))},
    ),
    "full Redis": Kind(
        4, _LONG, _squeeze, _relieve, lambda c: {"share": c.choice((0.6, 0.95, 1.02))}
    ),
    "other integration": Kind(
        2,
        _SHORT,
        _consume,
        _nothing,
        lambda c: {"endpoint": c.choice(_ENDPOINTS), "calls": c.randint(5, 300)},
    ),
    "people": Kind(
        5,
        _SHORT,
        _people,
        _nothing,
        lambda c: {"what": c.choice(("redrive", "redrive", "discard"))},
    ),
}
"""Every kind of fault by its name."""
