"""The reader: what Klaviyo knows, asked synchronously.

    with Reader.from_env() as klaviyo:
        profile_id = klaviyo.profiles.id_of(email="ada@lovelace.dev")
        for event in klaviyo.events.all(profile_id=profile_id, count=100):
            print(event.datetime, event.metric)

What may be long is an iterator that asks for the next page when it is needed. The rate limit is the
one that deliveries keep, so that reads and deliveries together stay within Klaviyo's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Self

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.klaviyo import arguments
from klaviyo_relay_worker.klaviyo.access import Access
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.events import Events
from klaviyo_relay_worker.klaviyo.lists import Lists
from klaviyo_relay_worker.klaviyo.metrics import Metrics
from klaviyo_relay_worker.klaviyo.profiles import Profiles
from klaviyo_relay_worker.klaviyo.segments import Segments
from klaviyo_relay_worker.quota import Quota
from klaviyo_relay_worker.settings import WorkerSettings, variable_of

PATIENCE_SECONDS = 60.0
# Aggregates of a long span are slow to come; no lease has to outlast a read.
REQUEST_SECONDS = 30.0


class Reader:
    """Reads one account.

    Each method may raise a `KlaviyoError`, or an `InvalidArgumentError` before anything is read
    (see `klaviyo_relay_worker.errors`), or a `klaviyo_relay.errors.RedisUnavailableError`; a
    method that gives an iterator raises the first and the last while it is iterated over, but for
    a name, which is looked up at the call.

    Args:
        access: how Klaviyo is asked.

    Attributes:
        profiles, events, metrics, lists, segments: the reads, by what they are about.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self.profiles = Profiles(access)
        self.metrics = Metrics(access)
        self.events = Events(access, self.profiles, self.metrics)
        self.lists = Lists(access)
        self.segments = Segments(access)

    @classmethod
    def from_env(
        cls,
        account: str = "default",
        *,
        patience: float = PATIENCE_SECONDS,
        environ: Mapping[str, str] = os.environ,
    ) -> Reader:
        """A reader with the worker's settings: KLAVIYO_API_KEY, KLAVIYO_RELAY_REDIS_URL, ….

        Args:
            account: whose; its key is in KLAVIYO_API_KEY_<ACCOUNT>.
            patience: seconds that one request may wait for the rate limit, or for Klaviyo to mend.
            environ: where the settings are.

        Raises:
            ConfigurationError: settings that cannot work, or no key for the account.
            InvalidArgumentError: no account can have this name, or patience is no time.
        """
        return cls.from_settings(WorkerSettings.from_env(environ), account, patience=patience)

    @classmethod
    def from_settings(
        cls,
        settings: WorkerSettings,
        account: str = "default",
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> Reader:
        """The same with settings made by hand."""
        arguments.account("account", account)
        arguments.seconds("patience", patience)
        key = settings.api_keys.get(account)
        if key is None:
            text = f"account {account}: no API key for it here; set {variable_of(account)}"
            raise ConfigurationError([text])
        client = KlaviyoClient(settings.api_url, key, settings.api_revision, REQUEST_SECONDS)
        quota = Quota(connect(settings.redis_url), settings.keys)
        return cls(Access(client, quota, account, patience=patience))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._access.close()
