"""Plain text: what others wrote, made harmless for a terminal.

Klaviyo's words, and the commands of applications, may hold control characters: escape sequences
that colour, move or retitle a terminal (ECMA-48), new lines that fake a second line of output, and
signs that turn the direction of reading (Unicode Standard Annex 9).
"""

from __future__ import annotations

import re

# C0, DEL and C1; line and paragraph separators; the controls of direction; U+FEFF; surrogates.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_ANY = re.compile(f"[{_CONTROLS}]")
_IN_JSON = re.compile(f"(?!\n)[{_CONTROLS}]")


def plain(text: str) -> str:
    r"""The text on one line, each control character as its escape, such as \u001b."""
    return _ANY.sub(_escape, text)


def plain_json(document: bytes) -> str:
    r"""A JSON document for a terminal: the same value, control characters as \u001b."""
    return _IN_JSON.sub(_escape, document.decode())


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
