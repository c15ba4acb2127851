"""Chaos: break everything for a while, let calm come, and see whether every rule held.

    python tests/chaos --rounds 50 --seed 7        episodes of ten rounds, each judged by itself
    python tests/chaos --seed 7 --episode 3        one of them again, with the same schedule
    python tests/chaos --sabotage all              break the engine on purpose; each must be caught

A seed decides what goes wrong when and what the producers ask for. How the processes happen to be
scheduled it cannot decide, so a failure may need a few tries to come back.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import episode
import nemesis
import oracle
import sabotage

ROUNDS_AN_EPISODE = 10


def main() -> int:
    """Exit code 0 if all rules held, or if each sabotage was caught."""
    options = _parser().parse_args()
    if options.sabotage:
        names = list(sabotage.WAYS) if options.sabotage == ["all"] else options.sabotage
        return _sabotage(names, options.seed)
    return _storm(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/chaos", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--rounds", type=int, default=50, help="rounds of faults in all (%(default)s)")
    add("--seed", default=str(time.time_ns() % 1_000_000), help="decides the schedule")
    add("--episode", type=int, help="only this one, from 0")
    add("--kinds", nargs="+", default=[], metavar="FAULT", help="only these kinds of faults")
    add("--sabotage", nargs="+", metavar="WAY", help=f"all, or of: {', '.join(sabotage.WAYS)}")
    add("--keep", action="store_true", help="keep the directories of episodes that held, too")
    return parser


def _storm(options: argparse.Namespace) -> int:
    count = -(-options.rounds // ROUNDS_AN_EPISODE)
    numbers = range(count) if options.episode is None else [options.episode]
    failures, rounds = 0, 0
    for number in numbers:
        seed = f"{options.seed}:{number}"
        length = min(ROUNDS_AN_EPISODE, options.rounds - number * ROUNDS_AN_EPISODE)
        length = length if length > 0 else ROUNDS_AN_EPISODE
        faults = nemesis.schedule(seed, length, tuple(options.kinds))
        print(f"\nepisode {number} of seed {options.seed}: {length} rounds, {len(faults)} faults")
        print(*(f"  {fault}" for fault in faults), sep="\n")
        directory = Path(tempfile.mkdtemp(prefix="chaos-"))
        began = time.monotonic()
        evidence = episode.run(directory, seed, faults)
        violations = oracle.judge(evidence)
        rounds += length
        failures += bool(violations)
        print(f"  {_numbers(evidence)} in {time.monotonic() - began:.0f} s")
        for exit_ in evidence.exits:
            print(f"  note: {exit_}")
        for violation in violations:
            print(f"  VIOLATION (--seed {options.seed} --episode {number}) {violation}")
        if violations or options.keep:
            print(f"  evidence: {directory}")
        else:
            shutil.rmtree(directory)
        sys.stdout.flush()
    print(f"\n{rounds} rounds, {failures} episodes with violations, seed {options.seed}")
    return 1 if failures else 0


def _numbers(evidence: episode.Evidence) -> str:
    lanes = evidence.report["accounts"]["default"]["lanes"].values()
    places = ("accepted", "delivered", "dead", "dropped", "discarded")
    total = {place: sum(lane[place] for lane in lanes) for place in places}
    said = ", ".join(f"{number} {place}" for place, number in total.items())
    return f"{said}, lost {evidence.report['lost']}, {len(evidence.requests)} requests"


def _sabotage(names: list[str], seed: str) -> int:
    """A table: each way of breaking the engine, and the rule that caught it."""
    missed = 0
    for name in names:
        if why := sabotage.applicable(name):
            print(f"{name:38} CANNOT BE APPLIED {why}", flush=True)
            missed += 1
            continue
        violations: list[oracle.Violation] = []
        for attempt in range(sabotage.ATTEMPTS):
            violations = _broken(name, f"{seed}:{name}:{attempt}")
            caught = {one.rule for one in violations}
            if caught & set(sabotage.WAYS[name].caught_by):
                break
        missed += _verdict(name, violations)
    return 1 if missed else 0


def _broken(name: str, seed: str) -> list[oracle.Violation]:
    """What the oracle says of an engine that is broken in this way."""
    way = sabotage.WAYS[name]
    faults = nemesis.schedule(seed, way.rounds, way.kinds)
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as place:
        evidence = episode.run(Path(place), seed, faults, sabotage=name, seconds=way.seconds)
    return oracle.judge(evidence)


def _verdict(name: str, violations: list[oracle.Violation]) -> bool:
    """Print a line of the table, with an example; says whether the sabotage was missed."""
    expected = sabotage.WAYS[name].caught_by
    caught = sorted({one.rule for one in violations})
    is_missed = not set(caught) & set(expected)
    verdict = f"MISSED (expected {', '.join(expected)})" if is_missed else "caught by"
    print(f"{name:38} {verdict} {', '.join(caught)}")
    examples = [one for one in violations if one.rule in expected] or violations
    for violation in examples[:2]:
        print(f"    {violation}", flush=True)
    return is_missed


if __name__ == "__main__":
    sys.exit(main())
