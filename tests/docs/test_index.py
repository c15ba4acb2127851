"""A reader finds every page, and sees in its first sentence whether it is for them."""

from __future__ import annotations

import re

import pytest

from pages import REPOSITORY, links, pages, prose, section

README = REPOSITORY / "README.md"
# README says what the project is; the others have a form that somebody else has set.
OF_ANOTHER_FORM = {"README.md", "SECURITY.md", "benchmarks.md"}
PAGES = [
    page
    for page in pages()
    if page.parent != REPOSITORY or page.name not in OF_ANOTHER_FORM
    if page.name not in OF_ANOTHER_FORM or page.parent.name in ("deploy", "examples")
]


def name_of(page):
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_says_first_for_whom_it_is(page):
    _, first, *_ = page.read_text("utf-8").split("\n\n")
    assert re.match(r"For (whoever|those|operators|data people|developers)\b", first)


def test_readme_links_to_every_page():
    more = section(README, "More")
    linked = {target for target in links(README) if f"({target})" in more}
    assert {name_of(page) for page in pages() if page != README} <= linked


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_the_points_of_a_list_have_the_numbers_that_are_shown(page):
    shown = 0
    for line in prose(page).splitlines():
        if point := re.match(r"(\d+)\. ", line):
            shown += 1
            assert int(point[1]) == shown, line
        elif line and not line.startswith(" "):
            shown = 0
