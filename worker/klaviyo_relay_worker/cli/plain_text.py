"""Plain text: what others wrote, made harmless for a terminal.

Klaviyo's words, the commands of applications, and names and properties of profiles are foreign.
They may hold escape sequences that colour, move or retitle a terminal (ECMA-48), line feeds that
forge a second line of output, signs that turn the direction of reading (Unicode Standard Annex 9),
and signs that nobody sees.
"""

from __future__ import annotations

import json


def plain(text: str) -> str:
    r"""The text on one line, with all that is invisible written out, such as \u001b.

    A JSON document of one line stays the same document, since such characters stand in its strings
    only, and strings may have them this way.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def plain_json(document: bytes) -> str:
    """A JSON document of several lines for a terminal: the same value."""
    return "\n".join(map(plain, document.decode().split("\n")))
