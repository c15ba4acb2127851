"""The lock files hold what pyproject.toml asks for, by checksum, and no place to get it from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"^(?P<name>[a-z0-9._-]+)(\[[a-z,]+\])?==(?P<version>[^ \\]+).*\\$", re.MULTILINE)
EXTRAS_LOCKED = ("worker", "embedded")


def pins(tree: Path, file: str) -> dict[str, str]:
    """Distribution -> version."""
    text = (tree / "requirements" / file).read_text()
    return {canonicalize_name(found["name"]): found["version"] for found in PIN.finditer(text)}


def missing(wanted: list[str], locked: dict[str, str]) -> list[str]:
    """Requirements that no pin meets."""
    found = map(Requirement, wanted)
    return [
        str(one)
        for one in found
        if not one.specifier.contains(locked.get(canonicalize_name(one.name), "0"))
    ]


def test_what_runs_is_locked(tree: Path) -> None:
    project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(line for extra in EXTRAS_LOCKED for line in extras[extra]),
    ]

    assert missing(wanted, pins(tree, "run.txt")) == []


def test_what_develops_is_locked(tree: Path) -> None:
    wanted = tomllib.loads((tree / "pyproject.toml").read_text())["dependency-groups"]["dev"]

    assert missing(wanted, pins(tree, "dev.txt")) == []


def test_development_runs_with_what_production_runs(tree: Path) -> None:
    assert pins(tree, "run.txt").items() <= pins(tree, "dev.txt").items()


@pytest.mark.parametrize("file", ["run.txt", "dev.txt"])
def test_a_lock_file_has_checksums_and_no_address(tree: Path, file: str) -> None:
    text = (tree / "requirements" / file).read_text()

    locked = list(PIN.finditer(text))

    assert len(locked) > 20
    assert len(re.findall(r"^[^ #]", text, re.MULTILINE)) == len(locked)
    assert len(re.findall(r"\\\n    --hash=sha256:[0-9a-f]{64}", text)) >= len(locked)
    assert not re.search(r"://|find-links|index-url|trusted-host", text)
