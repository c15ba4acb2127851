"""The `?filter=` grammar, as much of it as the endpoints allow.

`equals(field,"v")`, `any(field,["a","b"])`, `greater-than(field,2026-01-01T00:00:00Z)` and
its three siblings; joined by commas or `and(…)` (Klaviyo's filtering guide). Which field
takes which operator, and whether as a single value or a list, is each endpoint's
`x-klaviyo-filters` (Klaviyo OpenAPI 2026-07-15). `has(…)` and text searches are not modelled.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .errors import Refusal, bad_parameter
from .times import instant

Allowed = Mapping[str, frozenset[str]]
"""Field to `single:equals`, `list:any` and the like."""

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "greater-than": operator.gt,
    "greater-or-equal": operator.ge,
    "less-than": operator.lt,
    "less-or-equal": operator.le,
}
_TOKEN = re.compile(
    r"""\s*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'"""
    r"""|(?P<mark>[(),\[\]])|(?P<word>[^\s(),\[\]"']+))"""
)
_ESCAPED = re.compile(r"\\(.)")

ANY = frozenset({"single:equals", "list:equals", "list:any"})
LISTED = frozenset({"list:equals", "list:any"})
ONE = frozenset({"single:equals"})
RANGE = frozenset(f"single:{name}" for name in _COMPARISONS)
AFTER = frozenset({"single:greater-than"})
STRICT_RANGE = frozenset({"single:greater-than", "single:less-than"})


class Condition(NamedTuple):
    """One condition: all of them must hold."""

    operator: str
    field: str
    values: tuple[str, ...]

    def holds(self, actual: object) -> bool:
        """Whether `actual` fulfils it; of several values, one must."""
        if isinstance(actual, (list, tuple)):
            return any(self.holds(one) for one in actual)
        if actual is None:
            return False
        if compare := _COMPARISONS.get(self.operator):
            return compare(actual, _number(self.values[0]))
        return str(actual) in self.values


def parse(text: str | None, allowed: Allowed) -> list[Condition]:
    """The conditions in a filter; refuses what the endpoint does not allow."""
    if not text:
        return []
    tokens = _tokens(text)
    conditions = _Parser(tokens).conditions()
    return [_permitted(condition, allowed, listed=listed) for condition, listed in conditions]


def keep(
    items: Iterable[Any], conditions: list[Condition], read: Callable[[Any, str], Any]
) -> list[Any]:
    """The items for which all conditions hold; `read` gives a field of an item."""
    if not conditions:
        return list(items)
    return [item for item in items if all(one.holds(read(item, one.field)) for one in conditions)]


def _permitted(condition: Condition, allowed: Allowed, *, listed: bool) -> Condition:
    name, field = condition.operator, condition.field
    if field not in allowed:
        raise bad_parameter(f"'{field}' is not a valid field to filter by.", "filter")
    form = "list" if listed else "single"
    if f"{form}:{name}" not in allowed[field]:
        raise bad_parameter(f"'{name}' does not take '{field}' with a {form} value.", "filter")
    if name in _COMPARISONS:
        _number(condition.values[0])
    if field == "email":  # kept in lower case
        return condition._replace(values=tuple(one.lower() for one in condition.values))
    return condition


def _number(text: str) -> float:
    """A number or a time as epoch seconds."""
    try:
        return float(text)
    except ValueError:
        moment = instant(text)
    if moment is None:
        raise bad_parameter(f"'{text}' is no time.", "filter")
    return moment


class _Token(NamedTuple):
    text: str
    mark: bool = False


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise bad_parameter(f"Invalid filter at character {at}.", "filter")
        at = match.end()
        if match["mark"]:
            tokens.append(_Token(match["mark"], mark=True))
        elif match["word"]:
            tokens.append(_Token(match["word"]))
        else:
            quoted = match["double"] if match["double"] is not None else match["single"]
            tokens.append(_Token(_ESCAPED.sub(r"\1", quoted)))
    return tokens


class _Parser:
    """Reads `op(field,value)` one after the other, looking one token ahead."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def conditions(self) -> list[tuple[Condition, bool]]:
        """All of them, each with whether its value was a list."""
        found = self._sequence()
        if self._at < len(self._tokens):
            raise self._invalid()
        return found

    def _sequence(self) -> list[tuple[Condition, bool]]:
        found = self._one()
        while self._take(","):
            found += self._one()
        return found

    def _one(self) -> list[tuple[Condition, bool]]:
        name = self._word()
        self._expect("(")
        if name == "and":
            found = self._sequence()
        else:
            field = self._word()
            self._expect(",")
            values, listed = self._values()
            found = [(Condition(name, field, values), listed)]
        self._expect(")")
        return found

    def _values(self) -> tuple[tuple[str, ...], bool]:
        if not self._take("["):
            return (self._word(),), False
        values = [self._word()]
        while self._take(","):
            values.append(self._word())
        self._expect("]")
        return tuple(values), True

    def _word(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None or token.mark:
            raise self._invalid()
        self._at += 1
        return token.text

    def _take(self, mark: str) -> bool:
        here = self._at < len(self._tokens) and self._tokens[self._at] == (mark, True)
        self._at += here
        return here

    def _expect(self, mark: str) -> None:
        if not self._take(mark):
            raise self._invalid()

    def _invalid(self) -> Refusal:
        return bad_parameter(f"Invalid filter near token {self._at + 1}.", "filter")
