"""Klaviyo's OpenAPI document, where there is one beside the checkout."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from tree import SOURCE

DOCUMENT = SOURCE.parent / "shared" / "klaviyo" / "openapi-subset.json"
WHY_NOT = f"Klaviyo's OpenAPI document is not at {DOCUMENT}"

# On a test, or on a module of them.
needed = pytest.mark.skipif(not DOCUMENT.exists(), reason=WHY_NOT)


@cache
def document() -> Any:
    """The document; the test that asks for it is skipped where there is none."""
    if not DOCUMENT.exists():
        pytest.skip(WHY_NOT)
    return json.loads(DOCUMENT.read_text())
