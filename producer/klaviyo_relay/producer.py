"""The producer: the application's side. Every verb stores one command durably and returns its id.

A verb never waits for the network and never raises for it. It raises `InvalidCommandError` for a
command that Klaviyo would refuse, and `SpoolFullError` where the disk takes no more.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from klaviyo_relay import validation
from klaviyo_relay.commands import (
    PROFILE_ATTRIBUTES,
    TRACK_ONCE_ID,
    AddToList,
    Channel,
    Command,
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
    build,
    construct,
)
from klaviyo_relay.envelope import Envelope, encode, new_id
from klaviyo_relay.errors import (
    InvalidCommandError,
    RedisUnavailableError,
    SpoolDamagedError,
    SpoolError,
    SpoolFullError,
)
from klaviyo_relay.settings import Settings
from klaviyo_relay.trace_context import current_trace

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from klaviyo_relay.batch import Enqueued, Entrance
    from klaviyo_relay.direct import DirectShipment
    from klaviyo_relay.shipper import Flushed, Shipper
    from klaviyo_relay.spool import OwnSpool

# How long `close` waits for the thread beyond what its flush may take.
CLOSE_SECONDS = 0.5
DEFAULT_ACCOUNT = "default"
_living: WeakSet[Producer] = WeakSet()


class Diversion(Protocol):
    """Takes all commands of this process in place of spool and Redis: `klaviyo_relay.testing`."""

    def store(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Take rows of (lane, milliseconds, message)."""

    def entrance(self) -> Entrance:
        """Where `enqueue_many` ships."""


# None outside of tests.
diversion: Diversion | None = None


class Producer:
    """Stores commands in this process's spool and lets a background thread ship them.

    Making one costs nothing: the spool is opened by the first command. Safe to use from threads,
    from asyncio (a verb takes microseconds) and across fork (each process gets its own spool).

    Args:
        settings: Defaults to `Settings.from_env()`, read at the first command.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._given_settings = settings
        self._read_settings: Callable[[], Settings] = Settings.from_env
        self._opening = threading.Lock()
        self._spool: OwnSpool | None = None
        self._shipper: Shipper | None = None
        self._direct: DirectShipment | None = None
        self._is_sync = False
        self._pid = 0
        _living.add(self)

    def track(
        self,
        metric: str,
        *,
        email: str | None = None,
        phone_number: str | None = None,
        external_id: str | None = None,
        profile_id: str | None = None,
        anonymous_id: str | None = None,
        properties: Mapping[str, Any] | None = None,
        value: float | Decimal | None = None,
        value_currency: str | None = None,
        time: datetime | str | None = None,
        unique_id: str | None = None,
        profile: Mapping[str, Any] | None = None,
        backfill: bool | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """Record that a profile did something.

        Args:
            metric: what was done, such as "Placed Order"; fewer than 128 characters.
            email, phone_number, external_id, profile_id, anonymous_id: who; at least one.
            properties: up to 400 properties, 100 KB a string, nested up to 10 levels.
            value: amount of money or whatever the metric counts.
            value_currency: ISO 4217 code.
            time: when it happened; a datetime with a time zone, or ISO 8601. Defaults to now.
            unique_id: Klaviyo keeps one event per (profile, metric, unique_id).
                Defaults to the command's id, which is the same in every attempt.
            profile: attributes of the profile, as `identify` takes them; they travel as a command
                of their own before the event.
            backfill: store it without setting off flows.
            account: name of the Klaviyo account.

        Returns:
            The command's id, a UUIDv7.

        Raises:
            InvalidCommandError: names the field and the rule; nothing was stored.
            SpoolFullError: the disk takes no more; nothing was stored.
        """
        command = Track(
            metric=metric,
            email=email,
            phone_number=phone_number,
            external_id=external_id,
            profile_id=profile_id,
            anonymous_id=anonymous_id,
            properties=properties,  # type: ignore[arg-type]
            value=value,
            value_currency=value_currency,
            time=time,
            unique_id=unique_id,
            backfill=backfill,
        )
        if not profile:
            return self.enqueue(command, account=account)
        who = {name: getattr(command, name) for name in Identify.identifiers}
        return self._enqueue_all((_identify_of(who, profile), command), account)[-1]

    def track_once(self, metric: str, **arguments: Any) -> str:
        """As `track`, but Klaviyo keeps only the first event of this metric for each profile."""
        if "unique_id" in arguments:
            raise InvalidCommandError("unique_id", "is what track_once sets; use track instead")
        return self.track(metric, unique_id=TRACK_ONCE_ID, **arguments)

    def identify(
        self,
        *,
        email: str | None = None,
        phone_number: str | None = None,
        external_id: str | None = None,
        profile_id: str | None = None,
        first_name: str | None = None,
        last_name: str | None = None,
        organization: str | None = None,
        locale: str | None = None,
        title: str | None = None,
        image: str | None = None,
        location: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
        unset: Sequence[str] | None = None,
        append: Mapping[str, Any] | None = None,
        unappend: Mapping[str, Any] | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """Say what is to be known of a profile; creates it where it is new.

        What is left out, or None, stays as it is at Klaviyo.

        Args:
            email, phone_number, external_id, profile_id: who; at least one.
            location: address1, address2, city, country, latitude, longitude, region, zip,
                timezone, ip.
            properties: custom properties to set.
            unset: names of attributes or custom properties to clear.
            append: custom property -> value or values to add to its list. At least once: a value
                may be appended twice after an answer was lost.
            unappend: custom property -> value or values to take out of its list.
            account: name of the Klaviyo account.

        Returns:
            The command's id.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = Identify(
            email=email,
            phone_number=phone_number,
            external_id=external_id,
            profile_id=profile_id,
            first_name=first_name,
            last_name=last_name,
            organization=organization,
            locale=locale,
            title=title,
            image=image,
            location=location,  # type: ignore[arg-type]
            properties=properties,  # type: ignore[arg-type]
            unset=unset,  # type: ignore[arg-type]
            append=append,  # type: ignore[arg-type]
            unappend=unappend,  # type: ignore[arg-type]
        )
        return self.enqueue(command, account=account)

    def add_to_list(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        email: str | None = None,
        phone_number: str | None = None,
        external_id: str | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """Make a profile a member of a list, by the list's id or its name. Consent stays.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = AddToList(
            list_id=list_id,
            list_name=list_name,
            email=email,
            phone_number=phone_number,
            external_id=external_id,
        )
        return self.enqueue(command, account=account)

    def remove_from_list(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        email: str | None = None,
        phone_number: str | None = None,
        external_id: str | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """End a profile's membership of a list. Consent stays.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = RemoveFromList(
            list_id=list_id,
            list_name=list_name,
            email=email,
            phone_number=phone_number,
            external_id=external_id,
        )
        return self.enqueue(command, account=account)

    def create_list(
        self, list_name: str, *, opt_in_process: str | None = None, account: str = DEFAULT_ACCOUNT
    ) -> str:
        """Create a list unless one of this name exists; later commands may use `list_name=`.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = CreateList(list_name=list_name, opt_in_process=opt_in_process)
        return self.enqueue(command, account=account)

    def created_list(
        self, command_id: str, *, account: str = DEFAULT_ACCOUNT, timeout: float = 0.0
    ) -> str | None:
        """The id of the list that a `create_list` made, or found under its name.

        Asks Redis, so it is not for a request handler; `list_name=` needs no id. It is kept for
        three months.

        Args:
            command_id: as `create_list` returned it.
            account: the same as there.
            timeout: seconds to wait for the command to be delivered.

        Returns:
            Klaviyo's id of the list; None if it is not known within the time: `klaviyo-relay
            explain` tells why. Of several lists of this name, the first that Klaviyo names.

        Raises:
            RedisUnavailableError: Redis does not answer.
        """
        from klaviyo_relay import created_lists  # with redis, which not every process needs

        if diversion is not None:
            return None
        return created_lists.wait_for(self.settings, account, command_id, timeout)

    def rename_list(
        self,
        list_id: str | None = None,
        *,
        new_name: str,
        list_name: str | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """Give a list another name.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = RenameList(list_id=list_id, list_name=list_name, new_name=new_name)
        return self.enqueue(command, account=account)

    def delete_list(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """Delete a list; its members stay as profiles.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        return self.enqueue(DeleteList(list_id=list_id, list_name=list_name), account=account)

    def subscribe(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        email: str | None = None,
        phone_number: str | None = None,
        channels: Sequence[Channel] | None = None,
        consented_at: datetime | str | None = None,
        source: str | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """Record a person's consent to marketing, on a list or on the account.

        Args:
            channels: "email", "sms". Defaults to one for each identifier given.
            consented_at: a past time, for consent that was given earlier; Klaviyo then neither
                asks for a double opt-in nor sets off flows.
            source: where the consent was given.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = Subscribe(
            list_id=list_id,
            list_name=list_name,
            email=email,
            phone_number=phone_number,
            channels=channels,  # type: ignore[arg-type]
            consented_at=consented_at,
            source=source,
        )
        return self.enqueue(command, account=account)

    def unsubscribe(
        self,
        list_id: str | None = None,
        *,
        list_name: str | None = None,
        email: str | None = None,
        phone_number: str | None = None,
        channels: Sequence[Channel] | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """Record that a person withdrew consent: from a list, or from everything without one.

        Always synced to the disk before it returns.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = Unsubscribe(
            list_id=list_id,
            list_name=list_name,
            email=email,
            phone_number=phone_number,
            channels=channels,  # type: ignore[arg-type]
        )
        return self.enqueue(command, account=account)

    async def unsubscribe_async(self, list_id: str | None = None, **arguments: Any) -> str:
        """As `unsubscribe`, for a coroutine: the disk is synced in a thread."""
        import asyncio

        return await asyncio.to_thread(self.unsubscribe, list_id, **arguments)

    def suppress(self, *, email: str, account: str = DEFAULT_ACCOUNT) -> str:
        """Stop all email marketing to an address.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        return self.enqueue(Suppress(email=email), account=account)

    def unsuppress(self, *, email: str, account: str = DEFAULT_ACCOUNT) -> str:
        """Lift a suppression that `suppress` or a user set.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        return self.enqueue(Unsuppress(email=email), account=account)

    def delete_profile(
        self,
        *,
        email: str | None = None,
        phone_number: str | None = None,
        profile_id: str | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> str:
        """Ask Klaviyo to delete all profiles that match one identifier.

        Always synced to the disk before it returns.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = DeleteProfile(email=email, phone_number=phone_number, profile_id=profile_id)
        return self.enqueue(command, account=account)

    async def delete_profile_async(self, **arguments: Any) -> str:
        """As `delete_profile`, for a coroutine: the disk is synced in a thread."""
        import asyncio

        return await asyncio.to_thread(self.delete_profile, **arguments)

    def enqueue(self, command: Command, *, account: str = DEFAULT_ACCOUNT) -> str:
        """Store one command made by hand, such as `Track(metric=…, email=…)`; returns its id.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        if not isinstance(command, Command):
            raise InvalidCommandError("command", f"must be a command, not {type(command).__name__}")
        return self._enqueue_all((command,), account)[0]

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
            InvalidCommandError: a command in the iterable; those before it are in Redis.
            RedisUnavailableError, BackpressureError: after `timeout`; `accepted` says how far it
                came.
        """
        from klaviyo_relay.batch import enqueue_many

        validation.account("account", account)
        return enqueue_many(
            self.settings,
            commands,
            account=account,
            bulk=bulk,
            source=source,
            timeout=timeout,
            entrance=None if diversion is None else diversion.entrance(),
        )

    def flush(self, timeout: float = 5.0) -> Flushed:
        """Wait until Redis has all that this process stored, or until `timeout` seconds passed.

        Needed by nobody for safety: what is left is on the disk and will be shipped.
        """
        from klaviyo_relay.shipper import Flushed

        if self._shipper is None or self._pid != os.getpid() or diversion is not None:
            return Flushed(0)
        return self._shipper.flush(timeout)

    def close(self, timeout: float | None = None) -> Flushed:
        """Flush, end the thread and close the spool; the next command opens a new one.

        Args:
            timeout: seconds to wait. Defaults to the setting exit_seconds.
        """
        from klaviyo_relay.shipper import Flushed

        with self._opening:
            if self._shipper is None or self._spool is None or self._pid != os.getpid():
                return Flushed(0)
            seconds = self.settings.exit_seconds if timeout is None else timeout
            flushed = self._shipper.flush(seconds if diversion is None else 0.0)
            if self._shipper.stop(CLOSE_SECONDS):
                self._spool.close()
            else:
                # The thread still waits for Redis; to others the file counts as a dead process's.
                self._spool.retire()
            self._spool = self._shipper = None
            atexit.unregister(self.close)
            return flushed

    def configure(self, read: Callable[[], Settings]) -> None:
        """Take the settings from elsewhere than the environment: for `klaviyo_relay.contrib`.

        What is open under other settings is flushed and closed; the next command opens anew.

        Args:
            read: called when the settings are needed next; what it raises is raised there.
        """
        self.close()
        self._read_settings = read
        self._given_settings = self._direct = None

    @property
    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            ConfigurationError: the environment has settings that cannot work.
        """
        if self._given_settings is None:
            self._given_settings = self._read_settings()
        return self._given_settings

    def _enqueue_all(self, commands: Sequence[Command], account: str) -> list[str]:
        if account != DEFAULT_ACCOUNT:
            validation.account("account", account)
        at = time.time_ns() // 1_000_000
        trace = current_trace()
        ids, rows, full = [], [], False
        for command in commands:
            identity = new_id()
            envelope = Envelope(id=identity, account=account, at=at, command=command, trace=trace)
            message = encode(envelope)
            rows.append((f"{account}:{command.lane}", at, message))
            ids.append(identity)
            full = full or command.is_always_synced
        self._store(rows, full=full)
        return ids

    def _store(
        self, rows: list[tuple[str, int, bytes]], *, full: bool, is_second_try: bool = False
    ) -> None:
        if diversion is not None:
            return diversion.store(rows)
        spool = self._spool
        try:
            if spool is None or self._pid != os.getpid():
                spool = self._open()
            spool.append(rows, full=full)
        except SpoolError as error:
            if isinstance(error, SpoolDamagedError) and spool is not None and not is_second_try:
                self._leave_damaged(spool)
                self._store(rows, full=full, is_second_try=True)
            else:
                self._ship_at_once(rows, error)
        else:
            shipper = self._shipper
            if shipper is not None:  # it was closed meanwhile: others ship the file
                shipper.notify()
            if self._is_sync:
                self.flush(self.settings.sync_seconds)

    def _ship_at_once(self, rows: list[tuple[str, int, bytes]], error: SpoolError) -> None:
        """The disk takes no more: ship in the call, with a short limit.

        Raises:
            SpoolFullError: Redis did not take it either; the command is not accepted.
        """
        if self._direct is None:
            from klaviyo_relay.direct import DirectShipment

            self._direct = DirectShipment(self.settings)
        try:
            self._direct.ship(rows)
        except RedisUnavailableError as unavailable:
            raise SpoolFullError(f"{error}; {unavailable}") from error

    def _open(self) -> OwnSpool:
        # Here, not above: importing the package stays cheap for a process that never enqueues.
        from klaviyo_relay.shipper import Shipper
        from klaviyo_relay.spool import OwnSpool

        with self._opening:
            if self._spool is not None and self._pid == os.getpid():
                return self._spool
            settings = self.settings
            spool = OwnSpool.create(
                settings.spool_directory, settings.digest, durability=settings.durability
            )
            self._shipper = Shipper(spool, settings, self._leave_damaged)
            self._pid = os.getpid()
            self._spool = spool
            self._is_sync = settings.ship == "sync"
            atexit.register(self.close)
            return spool

    def let_go(self) -> None:
        """In a forked child: leave the parent's spool to the parent; the next command opens one."""
        inherited, self._spool, self._shipper = self._spool, None, None
        self._opening = threading.Lock()
        self._direct = None
        if inherited is not None:
            inherited.lock.release()

    def _leave_damaged(self, spool: OwnSpool) -> None:
        """The disk has damaged the file: go on with a new one, whose shipper saves what it can."""
        with self._opening:
            if self._spool is spool and self._shipper is not None:
                self._shipper.give_up()
                self._spool = self._shipper = None
        spool.retire()


def _let_all_go() -> None:
    for producer in list(_living):
        producer.let_go()


os.register_at_fork(after_in_child=_let_all_go)


def _identify_of(who: Mapping[str, str | None], profile: Mapping[str, Any]) -> Identify:
    """The identify that carries `track(profile=…)`."""
    if not isinstance(profile, Mapping):
        raise InvalidCommandError("profile", f"must be a dict, not {type(profile).__name__}")
    known = {name: value for name, value in who.items() if value is not None}
    if not known:
        raise InvalidCommandError(
            "profile", "needs an email, phone_number, external_id or profile_id"
        )
    for name in profile:
        if name in known:
            raise InvalidCommandError(f"profile.{name}", "is given beside profile already")
        if name not in _PROFILE_FIELDS:
            raise InvalidCommandError(
                f"profile.{validation.printable(name)}",
                f"is unknown; known are {', '.join(_PROFILE_FIELDS)}; others go into properties",
            )
    return construct(Identify, {**known, **profile})


def commands_of(verb: str, arguments: Mapping[str, Any]) -> list[Command]:
    """The commands of a verb with keyword arguments as its method takes them, for other doors.

    Raises:
        InvalidCommandError: as the verb itself.
    """
    given = dict(arguments)
    profile = given.pop("profile", None) if verb == "track" else None
    command = build(verb, given)
    if not profile:
        return [command]
    who = {name: given.get(name) for name in Identify.identifiers}
    return [_identify_of(who, profile), command]


_PROFILE_FIELDS = (
    *PROFILE_ATTRIBUTES, "location", "properties", "unset", "append", "unappend",
    "email", "phone_number", "external_id",
)  # fmt: skip
