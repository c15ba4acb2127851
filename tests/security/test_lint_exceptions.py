"""Every exception from a rule of linter or type checker says its reason where it stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tree import REPOSITORY

ANY = re.compile(r"# (?:ruff: )?(?:noqa|type: ignore|pragma: no)\b.*")
WITH_REASON = re.compile(
    r"# (?:ruff: )?noqa: [A-Z]+\d+(?:, [A-Z]+\d+)* - \S+"
    r"|# type: ignore\[[a-z, -]+\]  # \S+"
    r"|# pragma: no [a-z]+ - \S+"
)
SECURITY_KIND = re.compile(r"\bS\d{3}\b")
# What is wrong there is wrong on purpose, and its head says so.
LEFT_OUT = (REPOSITORY / "tests" / "typing", Path(__file__))
INSTALLED = ("producer", "worker")
# The folders in which every exception has a reason, not only those from security rules.
EXPLAINED = (
    "bench",
    "examples",
    "worker/klaviyo_relay_worker/sandbox",
    "tests/chaos",
    "tests/contract",
    "tests/dashboard",
    "tests/deploy",
    "tests/e2e",
    "tests/integrations",
    "tests/process_models",
    "tests/props",
    "tests/security",
)


class Exemption(NamedTuple):
    """A place, and what it is exempted from."""

    place: str
    text: str


def exemptions(folder: str) -> Iterator[Exemption]:
    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        if any(path.is_relative_to(one) for one in LEFT_OUT):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := ANY.search(line):
                yield Exemption(f"{path.relative_to(REPOSITORY)}:{number}", found[0])


def from_security_rules() -> list[Exemption]:
    everywhere = (one for folder in INSTALLED for one in exemptions(folder))
    return [one for one in everywhere if SECURITY_KIND.search(one.text)]


@pytest.mark.parametrize("folder", EXPLAINED)
def test_each_exception_has_its_reason(folder: str) -> None:
    assert [one for one in exemptions(folder) if not WITH_REASON.match(one.text)] == []


def test_each_exception_from_a_security_rule_has_its_reason() -> None:
    found = from_security_rules()
    assert len(found) > 5
    assert [one for one in found if not WITH_REASON.match(one.text)] == []


def test_each_kind_of_security_exception_is_in_the_security_document() -> None:
    pages = [REPOSITORY / "SECURITY.md", REPOSITORY / "docs" / "security.md"]
    documents = "".join(page.read_text() for page in pages if page.exists())
    kinds = {kind for one in from_security_rules() for kind in SECURITY_KIND.findall(one.text)}
    assert {kind for kind in kinds if kind not in documents} == set()


def test_no_security_rule_is_switched_off_for_what_is_installed() -> None:
    lint = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    off = {*lint["ignore"]}
    for pattern, rules in lint["per-file-ignores"].items():
        off |= {*rules} if pattern.startswith((*INSTALLED, "*")) else set()
    assert lint["select"] == ["ALL"]
    assert not {rule for rule in off if re.fullmatch(r"S(\d{3})?", rule)}
