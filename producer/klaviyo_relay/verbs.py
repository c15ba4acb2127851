"""The verbs: what an application says, each made into commands and handed to whoever stores them.

They are written down here once, with their signatures. Whoever offers them (a `Producer`, an
outbox, a framework's extension) derives from `Verbs` and says how commands are stored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from klaviyo_relay.calls import with_profile
from klaviyo_relay.commands import (
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
)
from klaviyo_relay.envelope import DEFAULT_ACCOUNT
from klaviyo_relay.errors import InvalidCommandError

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal


class Verbs(ABC):
    """All verbs that send something to Klaviyo.

    Each goes through `enqueue_together` in the end, some by way of `enqueue`. So whoever stores
    commands elsewhere, or looks at each, writes `enqueue_together` and nothing else.
    """

    @abstractmethod
    def enqueue_together(
        self, commands: Sequence[Command], *, account: str = DEFAULT_ACCOUNT
    ) -> list[str]:
        """Store a few commands, all or none of them, in their order.

        Args:
            commands: made by hand, such as `Track(metric=…, email=…)`.
            account: name of the Klaviyo account.

        Returns:
            Their ids, each a UUIDv7.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """

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
            properties=properties,  # type: ignore[arg-type]  # made so by the command
            value=value,
            value_currency=value_currency,
            time=time,
            unique_id=unique_id,
            backfill=backfill,
        )
        commands = with_profile(command, profile) if profile else (command,)
        return self.enqueue_together(commands, account=account)[-1]

    def track_once(self, metric: str, **arguments: Any) -> str:
        """As `track`, but Klaviyo keeps only the first event of this metric for each profile.

        Args:
            metric, arguments: as `track` takes them, without `unique_id`.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
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
            location=location,  # type: ignore[arg-type]  # made so by the command
            properties=properties,  # type: ignore[arg-type]  # made so by the command
            unset=unset,  # type: ignore[arg-type]  # made so by the command
            append=append,  # type: ignore[arg-type]  # made so by the command
            unappend=unappend,  # type: ignore[arg-type]  # made so by the command
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
            channels: "email" (needs an email), "sms" (needs a phone_number). Defaults to one for
                each identifier given.
            consented_at: when it was given: a past time, as a datetime with a time zone or ISO
                8601. Klaviyo then neither asks for a double opt-in nor sets off flows.
            source: where the consent was given.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        command = Subscribe(
            list_id=list_id,
            list_name=list_name,
            email=email,
            phone_number=phone_number,
            channels=channels,  # type: ignore[arg-type]  # made so by the command
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
            channels=channels,  # type: ignore[arg-type]  # made so by the command
        )
        return self.enqueue(command, account=account)

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

    def enqueue(self, command: Command, *, account: str = DEFAULT_ACCOUNT) -> str:
        """Store one command made by hand, such as `Track(metric=…, email=…)`; returns its id.

        Raises:
            InvalidCommandError, SpoolFullError: as `track`.
        """
        return self.enqueue_together((command,), account=account)[0]
