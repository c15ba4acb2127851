"""Plain text: no control character reaches a terminal, and nothing else changes."""

from __future__ import annotations

import json

import pytest

from klaviyo_relay_worker.cli.plain_text import plain, plain_json

NASTY = ["\x1b[2J", "a\nb", "\r", "\x9b31m", "\u202eevil", "\u2028", "\x7f", "\ufeff"]
# Soft hyphen, zero width space, word joiner, a tag: whoever reads sees nothing.
NASTY += ["pay\u00adpal", "pay\u200bpal", "\u2060", "\U000e0041", "\ud800"]


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_a_control_character_becomes_its_escape(text):
    found = plain(f"before {text} after")
    assert found.isprintable()
    assert json.loads(f'"{found}"') == f"before {text} after"


def test_what_is_printable_stays_as_it_is():
    assert plain("Žižek · 長い · e\u0301 🐍") == "Žižek · 長い · e\u0301 🐍"


@pytest.mark.parametrize("text", NASTY[1:-1], ids=ascii)
def test_a_document_stays_the_same_document(text):
    value = {"name": text, "list": [1]}
    document = json.dumps(value, ensure_ascii=False, indent=2)
    found = plain_json(document.encode())
    assert json.loads(found) == value
    assert found.replace("\n", "").isprintable()
    assert found.count("\n") == document.count("\n")
