"""The ladder: takes a refused bulk request apart until only the bad commands are left over.

Klaviyo refuses a bulk request as a whole for one bad item. Its `source.pointer` names the items
where it can; then the bad ones are judged and the rest goes out again. Where it does not, the
request is halved: at most 2·log2(n) further requests for each bad command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Delivered, Failure, failures_of
from klaviyo_relay_worker.plan.batch import Conversation, Ledger, Part

# As in /data/attributes/profiles/data/3/attributes/email, and deeper for events.
_ITEM = re.compile(r"^/data/attributes/[^/]+/data/(\d+)(?:/|$)")
# Pointers that blame what all items share. An import job for a list that is gone points to all of
# itself (recorded, revision 2026-07-15).
_SHARED = re.compile(r"^/data/relationships/")
_LIST_IS_GONE = re.compile(r"^List ID \S+ does not exist")


class Bulk:
    """How one kind of bulk request is built and judged.

    Args:
        build: the request for some parts.
        accept: writes down what an accepted request means.
        last_word: judges one part that Klaviyo has singled out.
        recognise: says whether it knows why a request was refused as a whole, and has dealt with
            it; then it is not taken apart.
    """

    def __init__(
        self,
        build: Callable[[Sequence[Part]], Request],
        accept: Callable[[Answer, Sequence[Part], Ledger], None],
        last_word: Callable[[Part, Failure, Ledger], Conversation],
        recognise: Callable[[Sequence[Part], Sequence[Failure], Ledger], bool] | None = None,
    ) -> None:
        self._build = build
        self._accept = accept
        self._last_word = last_word
        self._recognise = recognise

    def deliver(self, parts: Sequence[Part], ledger: Ledger) -> Conversation:
        """Send the parts; each has an outcome in the end, or is to be sent again singly."""
        answer = yield self._build(parts)
        if answer.is_accepted:
            self._accept(answer, parts, ledger)
            return
        failures = failures_of(answer.status, answer.document())
        blamed = blamed_items(failures, len(parts))
        if not blamed and self._recognise and self._recognise(parts, failures, ledger):
            return
        if blamed:
            yield from self._without(blamed, parts, ledger)
        elif any(_is_shared(failure) for failure in failures):
            for part in parts:
                ledger.refuse(part.entries, failures[0])
        elif len(parts) == 1:
            yield from self._last_word(parts[0], failures[0], ledger)
        else:
            middle = len(parts) // 2
            yield from self.deliver(parts[:middle], ledger)
            yield from self.deliver(parts[middle:], ledger)

    def _without(
        self, blamed: dict[int, Failure], parts: Sequence[Part], ledger: Ledger
    ) -> Conversation:
        good = [part for at, part in enumerate(parts) if at not in blamed]
        if good:
            yield from self.deliver(good, ledger)
        for at, failure in blamed.items():
            yield from self._last_word(parts[at], failure, ledger)


def _is_shared(failure: Failure) -> bool:
    return bool(_SHARED.match(failure.pointer) or _LIST_IS_GONE.match(failure.detail))


def blamed_items(failures: Sequence[Failure], items: int) -> dict[int, Failure]:
    """Which items the pointers name, with the first failure of each."""
    blamed: dict[int, Failure] = {}
    for failure in failures:
        found = _ITEM.match(failure.pointer)
        if found and int(found[1]) < items:
            blamed.setdefault(int(found[1]), failure)
    return blamed


def accept(_answer: Answer, parts: Sequence[Part], ledger: Ledger) -> None:
    """An accepted request where that is all that Klaviyo tells."""
    ledger.settle_parts(parts, Delivered())


def refuse(part: Part, failure: Failure, ledger: Ledger) -> Conversation:
    """The last word where there is nothing else to try: a dead letter."""
    ledger.refuse(part.entries, failure)
    yield from ()  # a conversation of no requests
