"""A short storm with a fixed seed; `make chaos` runs longer ones."""

from __future__ import annotations

from pathlib import Path

import episode
import nemesis
import oracle

KINDS = ("kill worker", "kill producer", "kill Redis", "kill sandbox", "lose answers", "throttle")


def test_every_rule_holds_through_a_short_storm(tmp_path: Path) -> None:
    seed = "short"
    faults = nemesis.schedule(seed, 3, KINDS)
    evidence = episode.run(tmp_path, seed, faults)

    assert len(evidence.history.effects) > 100
    assert not [str(violation) for violation in oracle.judge(evidence)], [*map(str, faults)]


def test_a_broken_engine_is_caught(tmp_path: Path) -> None:
    seed = "broken"
    faults = nemesis.schedule(seed, 1, ("lose answers",))
    evidence = episode.run(
        tmp_path, seed, faults, workers=1, producers=1, sabotage="resend_with_new_ids"
    )

    assert "once" in {violation.rule for violation in oracle.judge(evidence)}


def test_a_seed_decides_the_schedule() -> None:
    assert nemesis.schedule("7:0", 10) == nemesis.schedule("7:0", 10)
    assert nemesis.schedule("7:0", 10) != nemesis.schedule("7:1", 10)
