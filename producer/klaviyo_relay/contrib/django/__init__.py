"""Django: the verbs, stored when the surrounding transaction commits.

    INSTALLED_APPS = [..., "klaviyo_relay.contrib.django"]
    KLAVIYO_RELAY = {"REDIS_URL": "redis://…", "SPOOL_DIR": BASE_DIR / "spool"}

    from klaviyo_relay.contrib import django as klaviyo

    with transaction.atomic():
        order = Order.objects.create(...)
        klaviyo.track("Placed Order", email=order.email, value=order.total)

A verb checks its command and fixes its id, time and values at the call. In a transaction the
command is stored after the commit, and never where that is rolled back; outside of one, at once.
`using("orders").track(…)` looks at the transaction of another database alias. A process that dies
between the commit and what follows it loses the command: see docs/frameworks.md.

`enqueue_many` is not here, because it cannot wait for a commit: `klaviyo_relay.enqueue_many`.
"""

from __future__ import annotations

from klaviyo_relay import close, created_list, flush
from klaviyo_relay.contrib.django.transactions import OnCommit, using, waiting_for_commit

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
unsubscribe_async = _default.unsubscribe_async
suppress = _default.suppress
unsuppress = _default.unsuppress
delete_profile = _default.delete_profile
delete_profile_async = _default.delete_profile_async
enqueue = _default.enqueue

__all__ = [
    "OnCommit",
    "add_to_list",
    "close",
    "create_list",
    "created_list",
    "delete_list",
    "delete_profile",
    "delete_profile_async",
    "enqueue",
    "flush",
    "identify",
    "remove_from_list",
    "rename_list",
    "subscribe",
    "suppress",
    "track",
    "track_once",
    "unsubscribe",
    "unsubscribe_async",
    "unsuppress",
    "using",
    "waiting_for_commit",
]
