"""The producer: the application's side. Every verb stores one command durably and returns its id.

A verb never waits for the network and never raises for it. It raises `InvalidCommandError` for a
command that Klaviyo would refuse, and `SpoolFullError` where the disk takes no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from klaviyo_relay import sinks, validation
from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import DEFAULT_ACCOUNT, new_id, wrap
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.settings import Settings
from klaviyo_relay.spooling import Spooling
from klaviyo_relay.trace_context import current_trace
from klaviyo_relay.verbs import Verbs

if TYPE_CHECKING:
    from klaviyo_relay.batch import Enqueued
    from klaviyo_relay.shipper import Flushed


class Producer(Verbs):
    """Stores commands in this process's spool and lets a background thread ship them.

    Making one costs nothing: the spool is opened by the first command. Safe to use from threads,
    from asyncio (a verb takes microseconds) and across fork (each process gets its own spool).

    Args:
        settings: Defaults to `Settings.from_env()`, read at the first command.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._given_settings = settings
        self._read_settings: Callable[[], Settings] = Settings.from_env
        self._spooling = Spooling(lambda: self.settings)

    def enqueue_together(
        self, commands: Sequence[Command], *, account: str = DEFAULT_ACCOUNT
    ) -> list[str]:
        """Store a few commands, all or none of them, in their order; returns their ids.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        if account is not DEFAULT_ACCOUNT:
            account = validation.account("account", account)
        at = time.time_ns() // 1_000_000
        trace = current_trace()
        ids, rows, full = [], [], False
        for command in commands:
            identity = new_id()
            lane, message = wrap(command, identity, account, at, trace)
            rows.append((lane, at, message))
            ids.append(identity)
            full = full or command.is_always_synced
        self.store(rows, full=full)
        return ids

    def store(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool) -> None:
        """Store rows of (lane, milliseconds, message), all or none; the last step of every verb.

        Args:
            rows: in order.
            full: sync the disk before returning, whatever the setting durability says.

        Raises:
            SpoolFullError: the disk takes no more; nothing was stored.
        """
        # Not by the property, and nothing else besides: it is in the way of every call.
        (sinks.diversion or self._spooling).store(rows, full=full)

    async def unsubscribe_async(self, list_id: str | None = None, **arguments: Any) -> str:
        """As `unsubscribe`, for a coroutine: the disk is synced in a thread.

        Args:
            list_id, arguments: as `unsubscribe` takes them.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        return await _in_a_thread(partial(self.unsubscribe, list_id, **arguments))

    async def delete_profile_async(self, **arguments: Any) -> str:
        """As `delete_profile`, for a coroutine: the disk is synced in a thread.

        Args:
            arguments: as `delete_profile` takes them.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        return await _in_a_thread(partial(self.delete_profile, **arguments))

    def created_list(
        self, command_id: str, *, account: str = DEFAULT_ACCOUNT, timeout: float = 0.0
    ) -> str | None:
        """The id of the list that a `create_list` made, or found under its name.

        Asks Redis, so it is not for a request handler; `list_name=` needs no id. It is kept for
        three months.

        Args:
            command_id: as `create_list` returned it.
            account: name of the Klaviyo account, the same as there.
            timeout: seconds to wait for the command to be delivered.

        Returns:
            Klaviyo's id of the list; None if it is not known within the time: `klaviyo-relay
            explain` tells why. Of several lists of this name, the first that Klaviyo names.

        Raises:
            InvalidCommandError: account or timeout.
            RedisUnavailableError: Redis does not answer.
        """
        account = validation.account("account", account)
        return self._sink.created_list(account, command_id, validation.seconds("timeout", timeout))

    def enqueue_many(
        self,
        commands: Iterable[Command],
        *,
        account: str = DEFAULT_ACCOUNT,
        bulk: bool = True,
        source: str | None = None,
        timeout: float | None = None,
    ) -> Enqueued:
        """Put many commands straight into Redis, as fast as it takes them; for batch jobs.

        Unlike the other verbs it waits for Redis: longer while Redis is away or filled up to the
        watermark. Memory stays flat, whatever the number of commands.

        Args:
            commands: any iterable; a generator is read as it goes.
            account: name of the Klaviyo account.
            bulk: use the low-priority lanes, so that a load never delays live commands.
            source: a name for this load. A load that is repeated under the same name, with the
                same commands in the same order, adds only what the first did not.
            timeout: most seconds to wait in one go for a Redis that is away or full.
                Defaults to no limit.

        Returns:
            How many commands were given, and how many of them were new to Redis.

        Raises:
            InvalidCommandError: account, source or timeout; or a command in the iterable: those
                before it are in Redis.
            RedisUnavailableError, BackpressureError: after `timeout`; `accepted` says how far it
                came.
        """
        import_whole("klaviyo_relay.batch")
        from klaviyo_relay.batch import enqueue_many

        account = validation.account("account", account)
        if source is not None:
            source = validation.text("source", source)
        if timeout is not None:
            validation.seconds("timeout", timeout)
        return enqueue_many(
            self._sink.entrance(),
            self.settings,
            commands,
            account=account,
            bulk=bulk,
            source=source,
            timeout=timeout,
        )

    def flush(self, timeout: float = 5.0) -> Flushed:
        """Wait until Redis has all that this process stored.

        Needed by nobody for safety: what is left is on the disk and will be shipped.

        Args:
            timeout: most seconds to wait.

        Returns:
            How many commands are still only on the disk.

        Raises:
            InvalidCommandError: timeout.
        """
        return self._sink.flush(validation.seconds("timeout", timeout))

    def close(self, timeout: float | None = None) -> Flushed:
        """Flush, end the thread and close the spool; the next command opens a new one.

        Args:
            timeout: seconds to wait. Defaults to the setting exit_seconds.

        Returns:
            How many commands are still only on the disk.

        Raises:
            InvalidCommandError: timeout.
        """
        if timeout is not None:
            validation.seconds("timeout", timeout)
        return self._spooling.close(timeout)

    def configure(self, read: Callable[[], Settings]) -> None:
        """Take the settings from elsewhere than the environment: for `klaviyo_relay.contrib`.

        What is open under other settings is flushed and closed; the next command opens anew.

        Args:
            read: called when the settings are needed next; what it raises is raised there.
        """
        self.close()
        self._read_settings = read
        self._given_settings = None

    @property
    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            ConfigurationError: the environment has settings that cannot work.
        """
        if self._given_settings is None:
            self._given_settings = self._read_settings()
        return self._given_settings

    @property
    def _sink(self) -> sinks.Sink:
        return sinks.diversion or self._spooling


async def _in_a_thread(verb: Callable[[], str]) -> str:
    import asyncio

    verbs = [verb]

    def call() -> str:
        # Taken out by who calls it: a thread that comes after all does not call it a second time.
        return verbs.pop()()

    try:
        return await asyncio.to_thread(call)
    except RuntimeError:
        if not verbs:
            raise
        # The process can have no more threads. The disk is well, so the loop waits for it.
        return call()


# The process's own: behind the verbs of the package, and of the frameworks' integrations.
own: Producer = Producer()
