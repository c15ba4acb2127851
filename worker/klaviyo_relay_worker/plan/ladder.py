"""The ladder: takes a refused bulk request apart until only the bad commands are left over.

Klaviyo refuses a bulk request as a whole for one bad item. Its `source.pointer` names the items
where it can; then the bad ones are judged and the rest goes out again. Where it does not, the
request is halved: at most 2·log2(n) further requests for each bad command. A conversation may be
broken off after any request, so what is known of a command is written down before the next one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence

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
        last_word: judges one part that Klaviyo has singled out; returns the requests that it takes,
            or None where it has judged already.
        recognise: says whether it knows why a request was refused as a whole, and has dealt with
            it; then it is not taken apart.
    """

    def __init__(
        self,
        build: Callable[[Sequence[Part]], Request],
        accept: Callable[[Answer, Sequence[Part], Ledger], None],
        last_word: Callable[[Part, Failure, Ledger], Conversation | None],
        recognise: Callable[[Sequence[Part], Sequence[Failure], Ledger], bool] | None = None,
    ) -> None:
        self._build = build
        self._accept = accept
        self._last_word = last_word
        self._recognise = recognise

    def deliver(self, parts: Sequence[Part], ledger: Ledger) -> Conversation:
        """Send the parts; each has an outcome in the end, or is to be sent again singly."""
        left = [parts]
        while left:
            sent = left.pop()
            answer = yield self._build(sent)
            if answer.is_accepted:
                self._accept(answer, sent, ledger)
            else:
                failures = failures_of(answer.status, answer.document())
                again = yield from self._take_apart(sent, failures, ledger)
                left += reversed(again)

    def _take_apart(
        self, parts: Sequence[Part], failures: Sequence[Failure], ledger: Ledger
    ) -> Generator[Request, Answer, Sequence[Sequence[Part]]]:
        """Judge whom the refusal singles out; returns what is to be sent again, in order."""
        blamed = blamed_items(failures, len(parts))
        if blamed:
            singled_out = [(parts[at], failure) for at, failure in blamed.items()]
            yield from self._judge(singled_out, ledger)
            good = [part for at, part in enumerate(parts) if at not in blamed]
            return [good] if good else []
        if self._is_judged_as_a_whole(parts, failures, ledger):
            return []
        if len(parts) == 1:
            yield from self._judge([(parts[0], failures[0])], ledger)
            return []
        middle = len(parts) // 2
        return [parts[:middle], parts[middle:]]

    def _is_judged_as_a_whole(
        self, parts: Sequence[Part], failures: Sequence[Failure], ledger: Ledger
    ) -> bool:
        if self._recognise and self._recognise(parts, failures, ledger):
            return True
        blames_all = any(is_shared(failure) for failure in failures)
        if blames_all:
            for part in parts:
                ledger.refuse(part.entries, failures[0])
        return blames_all

    def _judge(self, singled_out: Iterable[tuple[Part, Failure]], ledger: Ledger) -> Conversation:
        """Those that take no request first."""
        asking = [self._last_word(part, failure, ledger) for part, failure in singled_out]
        for conversation in asking:
            if conversation is not None:
                yield from conversation


def is_shared(failure: Failure) -> bool:
    """Whether a refusal blames what all items of a request share, such as their list."""
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


def refuse(part: Part, failure: Failure, ledger: Ledger) -> None:
    """The last word where there is nothing else to try: a dead letter."""
    ledger.refuse(part.entries, failure)
