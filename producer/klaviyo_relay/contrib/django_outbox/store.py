"""The relay's side of the Django models."""

from __future__ import annotations

from django.db import Error, IntegrityError, connections, router, transaction
from django.db.models import F, Max

from klaviyo_relay.contrib.django_outbox.models import OutboxRow, OutboxState
from klaviyo_relay.errors import LeaseLostError
from klaviyo_relay.outbox.store import STATE_ID, State, new_source


class DjangoStore:
    """See `klaviyo_relay.outbox.store.OutboxStore`.

    Django's connections belong to threads: the relay's thread has one of its own.

    Args:
        alias: the database. Defaults to the one that the routers name for `OutboxRow`.
    """

    errors: tuple[type[Exception], ...] = (Error,)

    def __init__(self, alias: str | None = None) -> None:
        self._alias = alias or router.db_for_write(OutboxRow)
        self._rows = OutboxRow.objects.using(self._alias)
        self._the_state = OutboxState.objects.using(self._alias).filter(id=STATE_ID)

    def state(self) -> State:
        """The state row, which the first call makes."""
        # A connection that failed, or is older than CONN_MAX_AGE, is made anew.
        connections[self._alias].close_if_unusable_or_obsolete()
        found = self._find_state()
        if found is None:
            self._make_state()
            found = self._find_state()
        if found is None:
            raise LeaseLostError("the state row was deleted a moment ago")
        return found

    def take(self, holder: str, beat: int) -> bool:
        """Make `holder` the relay, unless the row's beat is not `beat` any more."""
        taken: int = self._the_state.filter(beat=beat).update(holder=holder, beat=beat + 1)
        return taken == 1

    def renew(self, holder: str) -> None:
        """Raise the beat; LeaseLostError where somebody else is the relay."""
        connections[self._alias].close_if_unusable_or_obsolete()
        self._beat(holder)

    def release(self, holder: str) -> None:
        """Let the next relay take over at once, if `holder` is the relay."""
        self._the_state.filter(holder=holder).update(holder=None, beat=F("beat") + 1)

    def has_new(self) -> bool:
        """Whether there are committed rows without a number."""
        found: bool = self._rows.filter(number__isnull=True).exists()
        return found

    def number_rows(self, holder: str, limit: int, above: int) -> dict[str, int]:
        """Give numbers to up to `limit` committed rows; see `OutboxStore.number_rows`."""
        with transaction.atomic(using=self._alias):
            # First of all, for its lock: the rows below are those committed before it was had.
            self._beat(holder)
            last: int = self._the_state.get().last_number
            new = self._rows.filter(number__isnull=True).order_by("id").only("id", "lane")[:limit]
            found = list(enumerate(new, max(last, above) + 1))
            if not found:
                return {}
            for number, row in found:
                row.number = number
            self._rows.bulk_update([row for _, row in found], ["number"])
            self._the_state.update(last_number=found[-1][0])
            return {row.lane: number for number, row in found}

    def newest(self) -> dict[str, int]:
        """Each lane that has numbered rows, with its highest number."""
        numbered = self._rows.filter(number__isnull=False).order_by()
        return dict(numbered.values_list("lane").annotate(newest=Max("number")))

    def read(self, lane: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` pairs of number and message of a lane, above `after`, in rising order."""
        found = self._rows.filter(lane=lane, number__gt=after).order_by("number")[:limit]
        return [
            (number, bytes(message)) for number, message in found.values_list("number", "message")
        ]

    def delete(self, lane: str, upto: int) -> None:
        """Delete a lane's rows with numbers up to `upto`."""
        self._rows.filter(lane=lane, number__lte=upto).delete()

    def close(self) -> None:
        """Close this thread's connection."""
        connections[self._alias].close()

    def _beat(self, holder: str) -> None:
        if self._the_state.filter(holder=holder).update(beat=F("beat") + 1) != 1:
            raise LeaseLostError

    def _find_state(self) -> State | None:
        row = self._the_state.values_list("source", "holder", "beat", "last_number").first()
        return None if row is None else State(*row)

    def _make_state(self) -> None:
        row = OutboxState(id=STATE_ID, source=new_source(), beat=0, last_number=0)
        try:
            with transaction.atomic(using=self._alias):
                row.save(using=self._alias, force_insert=True)
        except IntegrityError:
            return  # another relay was faster
