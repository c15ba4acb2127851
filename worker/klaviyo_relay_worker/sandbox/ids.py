"""Identifiers that look like Klaviyo's: ULIDs for profiles and jobs, six characters for lists."""

from __future__ import annotations

import random
import string

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]
_SHORT = string.ascii_letters + string.digits
_EVENT_WIDTH = 11
_EVENT_PREFIX = "4"


def _crockford(number: int, pairs: int) -> str:
    """`number` in `2 * pairs` base-32 digits; two digits a step, since every new profile pays."""
    return "".join([_PAIRS[(number >> (10 * place)) & 1023] for place in range(pairs - 1, -1, -1)])


class IdMaker:
    """Makes identifiers from a seeded generator, so that a run can be repeated."""

    def __init__(self, seed: int) -> None:
        """Start the sequence that belongs to `seed`."""
        self._random = random.Random(seed)  # noqa: S311 - ids in a sandbox are no secret
        self._short_taken: set[str] = set()

    def ulid(self, instant: float) -> str:
        """26 characters: 10 of milliseconds since the epoch, 16 of chance."""
        chance = self._random.getrandbits(80)
        return _crockford(int(instant * 1000), 5) + _crockford(chance, 8)

    def short(self) -> str:
        """Six letters and digits, as list and metric ids have; never the same twice."""
        while True:
            made = "".join(self._random.choices(_SHORT, k=6))
            if made not in self._short_taken:
                self._short_taken.add(made)
                return made


def event_id(number: int) -> str:
    """The id of the `number`th event. Computed, not stored: 300,000 strings saved."""
    return _EVENT_PREFIX + _base36(number).rjust(_EVENT_WIDTH - 1, "0")


def event_number(text: str) -> int | None:
    """The number inside an event id; None when the text is no event id."""
    if (
        len(text) != _EVENT_WIDTH
        or text[0] != _EVENT_PREFIX
        or not (text.isascii() and text.isalnum())
    ):
        return None
    return int(text[1:], 36)


def _base36(number: int) -> str:
    digits = []
    while number:
        number, rest = divmod(number, 36)
        digits.append("0123456789abcdefghijklmnopqrstuvwxyz"[rest])
    return "".join(reversed(digits))
