"""Every link of the documentation that stays in the repository arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages import REPOSITORY, anchors, links, pages

DECISIONS = sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))
CHANGELOG = REPOSITORY / "CHANGELOG.md"
LINKS = [
    (page, target)
    for page in (*pages(), CHANGELOG, *DECISIONS)
    for target in links(page)
    if "://" not in target and not target.startswith("mailto:")
]


def name_of(value):
    return str(value.relative_to(REPOSITORY)) if isinstance(value, Path) else value


@pytest.mark.parametrize(("page", "target"), LINKS, ids=name_of)
def test_a_link_arrives(page, target):
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    assert found.exists(), f"{name_of(page)} names {target}, which is not there"
    if anchor:
        assert anchor in anchors(found), f"{name_of(page)} names {target}; there is no such heading"


def test_there_are_links_to_look_at():
    assert len(LINKS) > 30
