"""Every Python and shell block of the documentation runs as it stands, or says why it does not."""

from __future__ import annotations

import re

import pytest

from pages import OTHERS, PROGRAMS, blocks, pages, prose, stories

PAGES = {
    str(page.name if page.parent.name != "deploy" else "deploy/README.md"): page for page in pages()
}
STORIES = {
    story[0].name: story
    for page in pages()
    for story in stories(page)
    if not any(word.startswith("by ") for word in story[0].words or ())
}
WORDS = re.compile(
    r"sandbox|continues|pytest|given [\w.]+|until .+|exit \d+|events \d+|endless|warns|by \w+"
)


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_runnable_block_runs(story, stage_of):
    stage_of(story).run(story)


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_program_of_a_page_is_marked(page):
    unmarked = [
        block.name for block in blocks(page)
        if block.language in PROGRAMS and block.words is None
    ]  # fmt: skip
    assert unmarked == [], "put <!-- runnable --> or <!-- not runnable: why --> above it"


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_block_of_a_page_names_its_language(page):
    strange = [
        f"{block.name} {block.language!r}" for block in blocks(page)
        if block.language not in (*PROGRAMS, *OTHERS)
    ]  # fmt: skip
    assert strange == []


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_no_program_hides_in_an_indented_block(page):
    hidden = re.findall(r"^\n {4,}[^ |*-].*$", prose(page), re.MULTILINE)
    assert hidden == [], "put it between fences, so that it is found"


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_mark_has_known_words_and_a_reason_is_given(page):
    for block in blocks(page):
        if block.is_runnable:
            strange = [word for word in block.words or () if not WORDS.fullmatch(word)]
            assert strange == [], block.name
        elif block.words is not None:
            assert block.words != ("",), f"{block.name} does not say why it cannot run"
