"""The flights: conversations with Klaviyo under way, each in a thread of its own."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from functools import partial

from msgspec import Struct

from klaviyo_relay_worker.courier import Courier, Returned
from klaviyo_relay_worker.plan.batch import Batch
from klaviyo_relay_worker.shares import Senders

# For so long a turn waits for what is in flight before it plans again: new commands may have come.
LOOK_SECONDS = 0.1


class Errand(Struct, frozen=True):
    """A batch, and who writes down what became of it.

    Attributes:
        batch: what is sent.
        settle: called with what came back, once Klaviyo has spoken; it may be called again after a
            fault of Redis, and must then do no harm.
    """

    batch: Batch
    settle: Callable[[Returned], None]


class Flights:
    """The conversations of one turn.

    Args:
        courier: holds them.
        senders: threads for them, shared with other turns.
        account: whose share of the threads they take.

    Attributes:
        count: how many are in flight.
    """

    def __init__(self, courier: Courier, senders: Senders, account: str) -> None:
        self._courier = courier
        self._senders = senders
        self._account = account
        self._back: queue.SimpleQueue[tuple[Errand, Returned]] = queue.SimpleQueue()
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether the account has as many threads as it may have at the moment."""
        return self._senders.is_full(self._account)

    def send(self, errand: Errand) -> None:
        """Begin the conversation."""
        future = self._senders.submit(self._account, self._courier.deliver, errand.batch)
        # Only now: what has not begun never comes back, and would be waited for without end.
        self.count += 1
        future.add_done_callback(
            partial(lambda errand, done: self._back.put((errand, done.result())), errand)
        )

    def returned(self) -> Iterator[tuple[Errand, Returned]]:
        """What is back; waits a little for the first."""
        timeout = LOOK_SECONDS
        while self.count:
            try:
                landed = self._back.get(timeout=timeout) if timeout else self._back.get_nowait()
            except queue.Empty:
                return
            self.count -= 1
            timeout = 0.0
            yield landed

    def end(self) -> Iterator[tuple[Errand, Returned]]:
        """Conversations end after their request: waits for each, and gives what is back."""
        self._courier.stop()
        while self.count:
            landed = self._back.get()
            self.count -= 1
            yield landed
