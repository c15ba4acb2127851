"""Faults on demand: what a client must survive, switched on rule by rule."""

from __future__ import annotations

import random
import threading
from typing import Literal

import msgspec

from .errors import Fault, Refusal

Action = Literal["reset", "lose_answer", "hang", "delay", "drip", "refuse"]
_ERRORS = range(400, 600)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items = msgspec.json.Decoder(list[msgspec.Raw])


class Rule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One fault: which requests it hits, how often, and what it does to them.

    Either `status` or `action` says what happens:

    - `status`: this status at once, unprocessed, with `retry_after` (seconds) if given;
    - `reset`: the connection is reset, unprocessed;
    - `lose_answer`: processed in full, then the connection is reset;
    - `hang`: nothing for `seconds`, then the connection is reset, unprocessed;
    - `delay`: processed and answered after `seconds`;
    - `drip`: processed, the answer sent one byte each `seconds_per_byte`;
    - `refuse`: 400 `invalid` for the items whose JSON contains `match`; without `pointer`
      one error that points to `/data` only, so that the client must search for them.
    """

    endpoint: str = "*"
    """`POST /api/events`, with `{id}` for variable parts, or `*` for all."""
    times: int | None = None
    """How many requests are hit; None: all of them until the rules are cleared."""
    probability: float = 1.0
    match: str | None = None
    """Only requests whose raw body contains this."""
    status: int | None = None
    retry_after: int | None = None
    action: Action | None = None
    seconds: float = 0.0
    seconds_per_byte: float = 0.0
    pointer: bool = True

    def __post_init__(self) -> None:
        """Refuse rules that say nothing, or two things at once."""
        if (self.status is None) == (self.action is None):
            raise ValueError("a rule needs either a status or an action")
        if self.status is not None and self.status not in _ERRORS:
            raise ValueError("a status lies between 400 and 599")
        if not 0 <= self.probability <= 1:
            raise ValueError("a probability lies between 0 and 1")
        if self.action == "refuse" and not self.match:
            raise ValueError("refuse needs a match")

    def hits(self, endpoint: str, body: bytes) -> bool:
        """Whether the rule is about such a request."""
        if self.times == 0 or self.endpoint not in ("*", endpoint):
            return False
        return self.match is None or self.match.encode() in body


def rules_from(given: object) -> list[Rule]:
    """Rules from plain data; raises msgspec.ValidationError on a bad one."""
    return msgspec.convert(given, list[Rule])


class FaultSwitch:
    """The rules in force. The first that hits a request is used; any thread may ask."""

    def __init__(self, seed: int) -> None:
        """No rules; `seed` decides what a probability below 1 hits."""
        self._random = random.Random(seed)  # noqa: S311 - chance to test with, no secret
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def set(self, rules: list[Rule]) -> None:
        """Put these rules in the place of all before."""
        with self._lock:
            self._rules = list(rules)

    def rules(self) -> list[Rule]:
        """The rules, with the `times` that are left."""
        with self._lock:
            return [msgspec.structs.replace(rule) for rule in self._rules]

    def pick(self, endpoint: str, body: bytes) -> Rule | None:
        """The rule that hits this request, one time of it used up."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules:
                if rule.hits(endpoint, body) and self._random.random() < rule.probability:
                    if rule.times is not None:
                        rule.times -= 1
                    return rule
        return None


def refusal(rule: Rule, path: tuple[str, ...], body: bytes) -> Refusal:
    """The 400 of a `refuse` rule; `path` leads to the items of the body, if it has any."""
    detail = "The item is refused by a fault rule."
    if not rule.pointer or not path:
        return Refusal(400, Fault(detail, pointer="/data"))
    wanted = (rule.match or "").encode()
    faults = [
        Fault(detail, pointer=f"/{'/'.join(path)}/{index}/attributes")
        for index, item in enumerate(items_at(path, body))
        if wanted in bytes(item)
    ]
    return Refusal(400, *(faults or [Fault(detail, pointer="/data")]))


def items_at(path: tuple[str, ...], body: bytes) -> list[msgspec.Raw]:
    """The items that `path` leads to; none when the body is made differently."""
    part: bytes | msgspec.Raw = body
    try:
        for name in path:
            part = _members.decode(part)[name]
        return _items.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return []
