"""Where a producer's commands go: into its spool, or in tests wherever these divert them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from klaviyo_relay.batch import Entrance
    from klaviyo_relay.shipper import Flushed


class Sink(Protocol):
    """Takes what verbs made, and answers for it."""

    def store(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool) -> None:
        """Take rows of (lane, milliseconds, message), all or none.

        Args:
            rows: what to store, in order.
            full: not even a power cut may lose them.
        """

    def entrance(self) -> Entrance:
        """Where `enqueue_many` ships."""

    def flush(self, timeout: float) -> Flushed:
        """Wait until Redis has all rows taken so far, or until `timeout` seconds passed."""

    def created_list(self, account: str, command_id: str, timeout: float) -> str | None:
        """See `Producer.created_list`."""


# Takes all commands of this process while it is set; `klaviyo_relay.testing` sets it.
diversion: Sink | None = None
