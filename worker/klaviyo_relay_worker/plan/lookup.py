"""Look-ups: which profiles have some of these addresses or numbers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from msgspec import Struct, field

from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.klaviyo.pages import next_page
from klaviyo_relay_worker.klaviyo.query import FILTER_MOST
from klaviyo_relay_worker.outcome import Failure
from klaviyo_relay_worker.plan.batch import refusal_of

# Values that no look-up is refused for: Klaviyo's own examples (OpenAPI 2026-07-15, "Create
# Profile"). No phone number is known that Klaviyo surely takes: there halving goes to the end.
HARMLESS = {
    "email": "sarah.mason@klaviyo-demo.com",
    "external_id": "63f64a2b-c6bf-40c7-b81f-bed08162edbe",
}


class Found(Struct):
    """What a look-up found.

    Attributes:
        profiles: JSON:API resources.
        failures: value -> why Klaviyo would not look for it.
    """

    profiles: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)


Lookup = Generator[Request, Answer, None]


def look_up(
    name: str,
    values: Sequence[str],
    request_of: Callable[[Sequence[str]], Request],
    found: Found,
) -> Lookup:
    """Ask for all values, a hundred at a time. A bad value is singled out and harms no other.

    Args:
        name: the identifier's.
        values: of it.
        request_of: asks for some of them.
        found: is added to.
    """
    search = _Search(HARMLESS.get(name), request_of, found)
    for at in range(0, len(values), FILTER_MOST):
        yield from search.ask(values[at : at + FILTER_MOST])


class _Search:
    """One look-up.

    Where both halves of what was refused are refused in the same way, either each has a bad value
    or the reason is no value's, and halving would ask for each in vain. A value that cannot be bad
    tells.
    """

    def __init__(
        self, harmless: str | None, request_of: Callable[[Sequence[str]], Request], found: Found
    ) -> None:
        self._harmless = harmless
        self._request_of = request_of
        self._found = found
        self._is_tried = False
        # A refusal whose reason is no value's.
        self._of_all: Failure | None = None

    def ask(self, values: Sequence[str]) -> Lookup:
        refusal = yield from self._read(values)
        if refusal is not None:
            yield from self._ask_less(values, refusal)

    def _read(self, values: Sequence[str]) -> Generator[Request, Answer, Failure | None]:
        """All pages; returns why Klaviyo would not look, if so."""
        request: Request | None = self._request_of(values)
        while request is not None:
            answer = yield request
            if not answer.is_accepted:
                return refusal_of(answer)
            document = answer.document()
            self._found.profiles += document.get("data", ())
            request = next_page(request, document)
        return None

    def _ask_less(self, values: Sequence[str], refusal: Failure) -> Lookup:
        # 404 speaks of the list, not of a value.
        if len(values) == 1 or refusal.status == 404 or _is_same(refusal, self._of_all):
            self._found.failures.update(dict.fromkeys(values, refusal))
            return
        middle = len(values) // 2
        refused = []
        for half in (values[:middle], values[middle:]):
            why = yield from self._read(half)
            if why is not None:
                refused.append((half, why))
        if len(values) > 2 and [_is_same(refusal, why) for _, why in refused] == [True, True]:
            yield from self._try_harmless(refusal)
        for half, why in refused:
            yield from self._ask_less(half, why)

    def _try_harmless(self, refusal: Failure) -> Lookup:
        """What Klaviyo may find for it is nothing that was asked for."""
        if self._is_tried or self._harmless is None:
            return
        self._is_tried = True
        answer = yield self._request_of([self._harmless])
        if not answer.is_accepted and _is_same(refusal, refusal_of(answer)):
            self._of_all = refusal


def _is_same(one: Failure, other: Failure | None) -> bool:
    """Details may name what was asked for."""
    if other is None:
        return False
    return (one.status, one.code, one.pointer) == (other.status, other.code, other.pointer)
