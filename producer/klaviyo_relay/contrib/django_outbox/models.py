"""The two tables of the outbox; see `klaviyo_relay.outbox.store` for what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import models, router

from klaviyo_relay.outbox.producer import OutboxRow as Row
from klaviyo_relay.outbox.store import (
    HOLDER_MAX_CHARACTERS,
    LANE_MAX_CHARACTERS,
    STATE_TABLE,
    TABLE,
)


class OutboxRow(models.Model):
    """A command, from its transaction's commit until some seconds after it was shipped.

    Attributes:
        number: its place in the lanes' order; the relay gives it to committed rows.
        lane: the lane's name, `account:lane`.
        at: when the verb was called, milliseconds since 1970.
        command_id: what the verb returned.
        message: the envelope as JSON; private.
    """

    id = models.BigAutoField(primary_key=True)
    number = models.BigIntegerField(null=True, editable=False)
    lane = models.CharField(max_length=LANE_MAX_CHARACTERS)
    at = models.BigIntegerField()
    command_id = models.CharField(max_length=36)
    message = models.BinaryField()

    class Meta:
        """Names and indexes as in `klaviyo_relay.contrib.sqlalchemy`."""

        db_table = TABLE
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["lane", "number"], name=f"{TABLE}_number")
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(
                fields=["id"], name=f"{TABLE}_new", condition=models.Q(number__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.command_id} for {self.lane}"


class OutboxState(models.Model):
    """The one row that says how this outbox is named, how far it has counted, and who relays."""

    id = models.IntegerField(primary_key=True)
    source = models.CharField(max_length=32)
    holder = models.CharField(max_length=HOLDER_MAX_CHARACTERS, null=True)  # noqa: DJ001 - no holder is no name
    beat = models.BigIntegerField()
    last_number = models.BigIntegerField()

    class Meta:
        """Named as in `klaviyo_relay.contrib.sqlalchemy`."""

        db_table = STATE_TABLE

    def __str__(self) -> str:
        return f"{self.source}, relayed by {self.holder or 'nobody'}"


def store(rows: Sequence[Row], alias: str | None) -> None:
    """Insert rows, in their order, in the current transaction of a database."""
    chosen = alias or router.db_for_write(OutboxRow)
    OutboxRow.objects.using(chosen).bulk_create([OutboxRow(**row._asdict()) for row in rows])
