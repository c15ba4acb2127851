"""klaviyo-relay: the durable way from a Python application to Klaviyo.

    import klaviyo_relay as klaviyo

    klaviyo.track("Placed Order", email="ada@lovelace.dev", value=23.99, value_currency="USD")

Each verb stores a command on this machine's disk and returns its id; a background thread ships it
to Redis, and Celery workers deliver it to Klaviyo. `Producer` does the same with settings of
your own.
"""

from __future__ import annotations

from klaviyo_relay.commands import (
    AddToList,
    CreateList,
    DeleteList,
    DeleteProfile,
    Identify,
    RemoveFromList,
    RenameList,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
    Unsuppress,
)
from klaviyo_relay.errors import InvalidCommandError, RelayError
from klaviyo_relay.producer import Producer
from klaviyo_relay.producer import own as _default
from klaviyo_relay.settings import Settings

track = _default.track
track_once = _default.track_once
identify = _default.identify
add_to_list = _default.add_to_list
remove_from_list = _default.remove_from_list
create_list = _default.create_list
created_list = _default.created_list
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
enqueue_many = _default.enqueue_many
flush = _default.flush
close = _default.close

__all__ = [  # noqa: RUF022 - sorted within its groups
    # Verbs
    "add_to_list",
    "create_list",
    "created_list",
    "delete_list",
    "delete_profile",
    "delete_profile_async",
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
    "unsubscribe_async",
    "unsuppress",
    # The producer behind them
    "Producer",
    "Settings",
    "close",
    "flush",
    # Commands, for enqueue and enqueue_many
    "AddToList",
    "CreateList",
    "DeleteList",
    "DeleteProfile",
    "Identify",
    "RemoveFromList",
    "RenameList",
    "Subscribe",
    "Suppress",
    "Track",
    "Unsubscribe",
    "Unsuppress",
    # Errors; the others are in klaviyo_relay.errors
    "InvalidCommandError",
    "RelayError",
]
