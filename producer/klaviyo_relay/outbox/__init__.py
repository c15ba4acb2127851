"""The transactional outbox: commands in the application's own database, atomic with its commit.

For applications whose database must agree with what is sent. A verb writes a row on the
application's own connection: the transaction commits, and the command will be delivered; it rolls
back, and there never was one. `OutboxShipper` moves committed rows into the lanes, with the same
script as the spool's shipper.

The verbs are in `klaviyo_relay.contrib.sqlalchemy` and `klaviyo_relay.contrib.django_outbox`; this
package knows no database. See docs/outbox.md.
"""

from __future__ import annotations

from klaviyo_relay.errors import LeaseLostError
from klaviyo_relay.outbox.lease import Lease
from klaviyo_relay.outbox.producer import OutboxProducer, OutboxRow
from klaviyo_relay.outbox.shipper import OutboxShipper
from klaviyo_relay.outbox.store import OutboxStore, State

__all__ = [
    "Lease",
    "LeaseLostError",
    "OutboxProducer",
    "OutboxRow",
    "OutboxShipper",
    "OutboxStore",
    "State",
]
