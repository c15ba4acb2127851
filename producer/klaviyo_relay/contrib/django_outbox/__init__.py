"""The outbox for Django: commands in the transaction of the request, on any of its databases.

    INSTALLED_APPS = [..., "klaviyo_relay.contrib.django_outbox"]      # then: manage.py migrate

    from klaviyo_relay.contrib import django_outbox as outbox

    with transaction.atomic():
        order.save()
        outbox.track("Placed Order", email=order.email, value=order.total)

The transaction commits, and the command will be delivered; it rolls back, and there never was one.
The verbs write to the database that the routers name for `OutboxRow` (else "default"); another one
by `outbox.using("shop").track(…)`. Outside of `atomic` a command is committed at once.

`manage.py klaviyo_relay_outbox`, or `OutboxShipper(DjangoStore())` as a thread, ships what is
committed. See docs/outbox.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from klaviyo_relay.outbox.producer import OutboxProducer, OutboxRow

__all__ = [
    "add_to_list",
    "create_list",
    "delete_list",
    "delete_profile",
    "enqueue",
    "enqueue_many",
    "identify",
    "remove_from_list",
    "rename_list",
    "subscribe",
    "suppress",
    "track",
    "track_once",
    "unsubscribe",
    "unsuppress",
    "using",
]


def using(alias: str | None) -> OutboxProducer:
    """All verbs, on the database `alias`; None asks Django's routers, as the plain verbs do."""

    def write(rows: Sequence[OutboxRow]) -> None:
        # Here, since Django loads this package before there may be models.
        from klaviyo_relay.contrib.django_outbox.models import store

        store(rows, alias)

    return OutboxProducer(write)


_default = using(None)

track = _default.track
track_once = _default.track_once
identify = _default.identify
add_to_list = _default.add_to_list
remove_from_list = _default.remove_from_list
create_list = _default.create_list
rename_list = _default.rename_list
delete_list = _default.delete_list
subscribe = _default.subscribe
unsubscribe = _default.unsubscribe
suppress = _default.suppress
unsuppress = _default.unsuppress
delete_profile = _default.delete_profile
enqueue = _default.enqueue
enqueue_many = _default.enqueue_many
