"""Where the tree under test is."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Where the two packages are: `make test PACKAGE=wheel` tests a copy without them, below the whole.
SOURCE = next(
    folder
    for folder in Path(__file__).parents
    if (folder / "pyproject.toml").is_file() and (folder / "producer").is_dir()
)


def security_document() -> str:
    """What is said about security: the file that forges look for, and the page with the rest."""
    pages = (REPOSITORY / "SECURITY.md", REPOSITORY / "docs" / "security.md")
    return "".join(page.read_text() for page in pages if page.exists())
