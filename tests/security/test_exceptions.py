"""Every exception from a security rule names its reason where it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import klaviyo_relay
import klaviyo_relay_worker

REPOSITORY = Path(__file__).parent.parent.parent
EXCEPTION = re.compile(r"# noqa: (?:[A-Z0-9]+, ?)*S\d{3}.*")
REASON = re.compile(r"# noqa: [A-Z0-9, ]+ - \S+")


def exceptions():
    for package in (klaviyo_relay, klaviyo_relay_worker):
        folder = Path(package.__file__).parent
        for path in folder.rglob("*.py"):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if found := EXCEPTION.search(line):
                    yield f"{path.relative_to(folder.parent)}:{number}", found[0]


def test_each_has_its_reason():
    found = dict(exceptions())
    assert len(found) > 5
    assert [place for place, text in found.items() if not REASON.match(text)] == []


def test_each_kind_is_in_the_security_document():
    document = (REPOSITORY / "docs" / "security.md").read_text()
    kinds = {kind for _, text in exceptions() for kind in re.findall(r"S\d{3}", text)}
    assert {kind for kind in kinds if kind not in document} == set()


def test_no_rule_is_switched_off_for_what_is_installed():
    lint = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    off = {*lint["ignore"]}
    for pattern, rules in lint["per-file-ignores"].items():
        off |= {*rules} if pattern.startswith(("producer", "worker", "*")) else set()
    assert lint["select"] == ["ALL"]
    assert not {rule for rule in off if re.fullmatch(r"S(\d{3})?", rule)}
