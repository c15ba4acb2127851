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
    values: Sequence[str], request_of: Callable[[Sequence[str]], Request], found: Found
) -> Lookup:
    """Ask for all values, a hundred at a time. A bad value is singled out and harms no other."""
    for at in range(0, len(values), FILTER_MOST):
        yield from _ask(values[at : at + FILTER_MOST], request_of, found)


def _ask(
    values: Sequence[str], request_of: Callable[[Sequence[str]], Request], found: Found
) -> Lookup:
    request: Request | None = request_of(values)
    while request is not None:
        answer = yield request
        if not answer.is_accepted:
            yield from _ask_less(values, request_of, found, answer)
            return
        document = answer.document()
        found.profiles += document.get("data", ())
        request = next_page(request, document)


def _ask_less(
    values: Sequence[str],
    request_of: Callable[[Sequence[str]], Request],
    found: Found,
    refusal: Answer,
) -> Lookup:
    # 404 speaks of the list, not of a value.
    if len(values) == 1 or refusal.status == 404:
        failure = refusal_of(refusal)
        found.failures.update(dict.fromkeys(values, failure))
        return
    middle = len(values) // 2
    yield from _ask(values[:middle], request_of, found)
    yield from _ask(values[middle:], request_of, found)
