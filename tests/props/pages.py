"""The pages of the documentation, taken apart: blocks of code, links, headings and tables.

A block of Python or shell has a mark in the comment directly above it:

    <!-- runnable -->                    run as it stands; see tests/docs/conftest.py for the words
    <!-- runnable: sandbox, continues -->
    <!-- not runnable: it installs -->   says why
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = ("python", "sh")
# What other tools than ours read, or nobody: output, drawings, settings.
OTHERS = ("text", "ini", "toml", "json", "csv", "nginx")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>.*)$")
_MARK = re.compile(r"^ *<!-- (?P<not>not )?runnable(: (?P<words>.+))? -->$")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        page: its page.
        line: of its first line of code, from 1.
        language: as it stands behind the fence.
        text: what is between the fences, without common indentation.
        words: of the mark: None without one; empty where nothing is said beyond it.
        is_runnable: whether the mark says so.
    """

    page: Path
    line: int
    language: str
    text: str
    words: tuple[str, ...] | None
    is_runnable: bool

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def pages() -> list[Path]:
    """All pages for people, but for decisions, which are not to be changed any more."""
    roots = (
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "deploy/README.md",
        "examples/README.md",
    )
    found = [REPOSITORY / name for name in roots]
    return [*found, *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    lines = page.read_text("utf-8").splitlines()
    at = 0
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        if not opening:
            at += 1
            continue
        closing = f"{opening['indent']}```"
        end = lines.index(closing, at + 1)
        mark = _MARK.match(lines[at - 1]) if at else None
        yield Block(
            page=page,
            line=at + 2,
            language=opening["language"],
            text=textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n",
            words=_words(mark) if mark else None,
            is_runnable=bool(mark) and not mark["not"],
        )
        at = end + 1


def _words(mark: re.Match[str]) -> tuple[str, ...]:
    said = mark["words"] or ""
    return (said,) if mark["not"] else tuple(word for word in said.split(", ") if word)


def stories(page: Path) -> list[list[Block]]:
    """The runnable blocks of a page: each begins a story, or continues the one before."""
    found: list[list[Block]] = []
    for block in blocks(page):
        if not block.is_runnable:
            continue
        if "continues" in (block.words or ()):
            found[-1].append(block)
        else:
            found.append([block])
    return found


def prose(page: Path) -> str:
    """A page without its blocks; the lines stay where they are."""
    kept, closing = [], ""
    for line in page.read_text("utf-8").splitlines():
        opening = _FENCE.match(line)
        if closing:
            closing = "" if line == closing else closing
            kept.append("")
        elif opening:
            closing = f"{opening['indent']}```"
            kept.append("")
        else:
            kept.append(line)
    return "\n".join(kept)


def links(page: Path) -> list[str]:
    """Where the links and images of a page point to; code has none."""
    return _LINK.findall(re.sub(r"`[^`\n]+`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    return {_anchor(heading) for heading in _HEADING.findall(prose(page))}


def _anchor(heading: str) -> str:
    """Lower case; letters, digits, hyphens and underscores stay, and a space is a hyphen."""
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading).replace("`", "")
    kept = (
        char for char in plain.lower()
        if char in " -_" or unicodedata.category(char)[0] in "LN"
    )  # fmt: skip
    return "".join(kept).replace(" ", "-")


def rows(page: Path) -> Iterator[list[str]]:
    """The cells of all tables' rows, heads included."""
    for line in prose(page).splitlines():
        if line.startswith("|") and not re.fullmatch(r"[|:\- ]+", line):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def section(page: Path, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    text = page.read_text("utf-8")
    found = re.search(
        rf"^(?P<level>#+) {re.escape(heading)}$(?P<body>.*?)(?=^#{{1,2}} |\Z)",
        text,
        re.MULTILINE | re.DOTALL,
    )
    assert found, f"{page.name} has no section {heading!r}"
    return found["body"]


def codes(text: str) -> set[str]:
    """What stands between single backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))
