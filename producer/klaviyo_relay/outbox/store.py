"""What the outbox asks of a database: some short transactions on two tables.

`klaviyo_relay_outbox` holds the commands. A row gets its `id` from the database when the
application inserts it, and its `number` from the relay, once it is committed. Only the number goes
to Redis. Ids would not do: the database gives them at the INSERT, so a row with a lower id may
become visible after one with a higher id was shipped, and the lane, which keeps the last number of
each source as its mark, would then ignore it for ever.

`klaviyo_relay_outbox_state` has one row: the name of this outbox towards Redis, the last number
given, and who relays at present. Numbers are given while that row is locked, so no number is seen
before all below it are.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from klaviyo_relay.sources import OUTBOX, unique

TABLE = "klaviyo_relay_outbox"
STATE_TABLE = "klaviyo_relay_outbox_state"
# The state table's only row.
STATE_ID = 1
LANE_MAX_CHARACTERS = 64
HOLDER_MAX_CHARACTERS = 80


class State(NamedTuple):
    """The state row.

    Attributes:
        source: name of this outbox towards Redis; marks are kept under it. It never changes.
        holder: the relay at work, or None.
        beat: rises with each sign of life of the holder.
        last_number: the last number that was given to a row.
    """

    source: str
    holder: str | None
    beat: int
    last_number: int


class OutboxStore(Protocol):
    """The database side of a relay. Each method is one transaction, begun and ended inside.

    Attributes:
        errors: what the database raises when it is away, busy or restarted.
    """

    errors: tuple[type[Exception], ...]

    def state(self) -> State:
        """The state row, which the first call makes."""

    def take(self, holder: str, beat: int) -> bool:
        """Make `holder` the relay, unless the row's beat is not `beat` any more."""

    def renew(self, holder: str) -> None:
        """Raise the beat.

        Raises:
            LeaseLostError: somebody else is the relay.
        """

    def release(self, holder: str) -> None:
        """Let the next relay take over at once, if `holder` is the relay."""

    def has_new(self) -> bool:
        """Whether there are committed rows without a number."""

    def number_rows(self, holder: str, limit: int, above: int) -> dict[str, int]:
        """Give numbers to up to `limit` committed rows without one, by rising id.

        Args:
            holder: who asks; the state row is locked from the first statement on.
            limit: most rows.
            above: a number that Redis has of this source. Numbers begin above it, though the
                database should remember less: it may be a restored or failed-over one, and numbers
                given twice would be ignored by the lane.

        Returns:
            Each lane among them with its highest number.

        Raises:
            LeaseLostError: somebody else is the relay.
        """

    def newest(self) -> dict[str, int]:
        """Each lane that has numbered rows, with its highest number."""

    def read(self, lane: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` pairs of number and message of a lane, above `after`, in rising order."""

    def delete(self, lane: str, upto: int) -> None:
        """Delete a lane's rows with numbers up to `upto`."""

    def close(self) -> None:
        """Give the connections back."""


def new_source() -> str:
    """A name for an outbox that no other has."""
    return unique(OUTBOX)
