"""Each exception from a tool's rule names its reason where it stands."""

from __future__ import annotations

import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("bench", "deploy", "examples", "producer", "tests", "worker")
# The heads of these files give one reason for all: both type checkers are to refuse the line.
ONE_REASON = "tests/typing/"
EXCEPTION = re.compile(
    r"# ?((?:ruff: )?noqa\b(: ?[A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*)?"
    r"|type: ignore\b(\[[a-z, -]+\])?|pyright: ignore\b(\[[A-Za-z, ]+\])?|pragma: no \w+)"
)
REASON = re.compile(r"[a-zA-Z]{2,}")


def exceptions(tree: Path) -> Iterator[tuple[str, str]]:
    """Place and comment of each."""
    for folder in FOLDERS:
        for path in sorted((tree / folder).rglob("*.py")):
            place = str(path.relative_to(tree))
            if not place.startswith(ONE_REASON):
                yield from ((f"{place}:{n}", text) for n, text in comments(path.read_text()))


def comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and EXCEPTION.search(token.string):
            yield token.start[0], token.string


def test_each_exception_in_the_code_has_a_reason_beside_it(tree: Path) -> None:
    found = dict(exceptions(tree))

    assert len(found) > 50
    bare = [place for place, text in found.items() if not REASON.search(EXCEPTION.sub("", text))]
    assert not bare, "\n".join(bare)


def test_each_exception_names_the_rule_that_it_is_from(tree: Path) -> None:
    for place, text in exceptions(tree):
        for found in EXCEPTION.finditer(text):
            assert found[2] or found[4] or found[5] or found[1].startswith("pragma"), place


def test_each_rule_that_is_off_for_many_files_has_its_reason(tree: Path) -> None:
    text = (tree / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    off = [lint["ignore"], *lint["per-file-ignores"].values()]

    with_reason = re.findall(r'^  "([A-Z]+[0-9]*)", *# \w', text, re.MULTILINE)

    assert with_reason == [rule for rules in off for rule in rules]
