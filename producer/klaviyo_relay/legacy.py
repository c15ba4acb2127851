"""The retired SDK's shapes, so that leaving `klaviyo` (PyPI, up to 3.x) is a changed import.

    from klaviyo_relay.legacy import Klaviyo              # was: from klaviyo import Klaviyo

    client = Klaviyo(public_token="PUBLIC", private_token="pk_…")
    client.Public.track("Placed Order", email="ada@lovelace.dev", properties={"$value": 23.99})

Each call becomes commands of today, stored by a producer and checked as ever; the caller's
objects are never changed. Each call site gets a `DeprecationWarning` that names the new form. What
Klaviyo has no target for any more is said too: `InvalidCommandError` where the call as a whole
cannot be meant any more, `LegacyWarning` where one member of it is left out. What reads is in
`klaviyo_relay_worker.legacy`, since a producer knows no HTTP.

Sources: the signatures are those of klaviyo 3.1.7 on PyPI (and `id=`, as in 1.x, for its
`external_id=`); the mapping follows Klaviyo's own guide from v1/v2 to the present API, as tabulated
in docs/migrating.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn

import klaviyo_relay
from klaviyo_relay.commands import (
    AddToList,
    Command,
    CreateList,
    DeleteList,
    DeleteProfile,
    Identify,
    RemoveFromList,
    RenameList,
    Subscribe,
    Track,
    Unsubscribe,
    construct,
)
from klaviyo_relay.envelope import DEFAULT_ACCOUNT, Envelope, encode
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.legacy_mapping import (
    TRACK_ONCE_KEY,
    LegacyWarning,
    Person,
    deprecated,
    identify_commands,
    items,
    mapping,
    names,
    to_commands,
)
from klaviyo_relay.verbs import Verbs

__all__ = ["READS", "Klaviyo", "LegacyWarning", "identify", "to_commands", "track", "track_once"]

_ID_TYPES = {"email": "email", "phone_number": "phone_number", "person_id": "profile_id"}
_IS_TEST = (
    "has no equivalent: Klaviyo's API has no test calls any more; leave it out, or deliver to"
    " `klaviyo-relay sandbox`"
)
# What reads, and its form today; `reader` is a `klaviyo_relay_worker.klaviyo.Reader`.
READS = {
    "get_profile": "reader.profiles.get(profile_id)",
    "get_profile_id_by_email": "reader.profiles.id_of(email=…)",
    "get_profile_metrics_timeline": "reader.events.all(profile_id=…)",
    "get_profile_metrics_timeline_by_id": "reader.events.all(profile_id=…, metric_id=…)",
    "get_metrics": "reader.metrics.all()",
    "get_metrics_timeline": "reader.events.all()",
    "get_metric_timeline_by_id": "reader.events.all(metric_id=…)",
    "get_metric_export": "reader.metrics.aggregate(metric_id=…, start=…, end=…)",
    "get_lists": "reader.lists.all()",
    "get_list_by_id": "reader.lists.get(list_id)",
    "get_subscribers_from_list": "reader.lists.subscribers(list_id, emails=[…])",
    "get_members_from_list": "reader.lists.members(list_id, emails=[…])",
    "get_list_exclusions": "reader.lists.exclusions(list_id)",
    "get_all_members": "reader.lists.members(list_id), or reader.segments.members(segment_id)",
    "get_members_from_segment": "reader.segments.members(segment_id, emails=[…])",
}
_NOT_READ = {
    "get_campaigns": "GET /api/campaigns",
    "get_campaign_recipients": "GET /api/campaigns/{id}",
}

Enqueue = Callable[..., str]


class Group:
    """One of the old client's groups of methods."""

    def __init__(self, enqueue: Enqueue | None = None, account: str = DEFAULT_ACCOUNT) -> None:
        self._enqueue = enqueue
        self._account = account

    def __getattr__(self, name: str) -> NoReturn:
        if name in READS:
            raise AttributeError(
                f"{name} reads, which needs the extra [worker]: write"
                f" `from klaviyo_relay_worker.legacy import Klaviyo`, or {READS[name]}"
            )
        if name in _NOT_READ:
            raise AttributeError(
                f"klaviyo-relay does not read campaigns; the package klaviyo-api has"
                f" {_NOT_READ[name]}"
            )
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def _send(self, commands: Iterable[Command]) -> list[str]:
        """Store commands, all of them checked before the first is stored; returns their ids."""
        checked = list(commands)
        for command in checked:
            encode(Envelope(id="", account=self._account, at=0, command=command))
        enqueue = self._enqueue or klaviyo_relay.enqueue
        return [enqueue(command, account=self._account) for command in checked]


class Public(Group):
    """track, track_once, identify."""

    def track(  # noqa: PLR0917 - the old signature
        self,
        event: str,
        email: str | None = None,
        id: str | int | None = None,  # noqa: A002 - the old name
        properties: Mapping[str, Any] | None = None,
        customer_properties: Mapping[str, Any] | None = None,
        timestamp: float | str | datetime | None = None,
        ip_address: str | None = None,
        is_test: bool = False,  # noqa: FBT001, FBT002 - the old signature
        *,
        external_id: str | int | None = None,
        **payload: Any,
    ) -> str:
        """`klaviyo_relay.track`, from the old arguments.

        Args:
            event: the metric.
            email: of the profile.
            id, external_id: your own id of the profile, in either of its old names.
            properties: of the event, with $value, $event_id and the like.
            customer_properties: of the profile, with $first_name and the like.
            timestamp: Unix seconds; a datetime without a time zone is local time, as it was.
            ip_address: becomes location.ip of the profile.
            is_test: refused.
            payload: further members of an old payload: token, time, ip; `method` is not used.

        Returns:
            The command's id. (The old API answered 1 or 0.)

        Raises:
            InvalidCommandError, SpoolFullError: as `Producer.track`.
        """
        deprecated("Public.track", 'klaviyo_relay.track("…", email=…, properties={…})')
        person = _besides(customer_properties, email=email, id=external_id or id)
        given = {"event": event, "customer_properties": person, "properties": properties}
        return self._track(given, payload, timestamp=timestamp, ip=ip_address, is_test=is_test)

    def track_once(  # noqa: PLR0917 - the old signature
        self,
        event: str,
        email: str | None = None,
        id: str | int | None = None,  # noqa: A002 - the old name
        properties: Mapping[str, Any] | None = None,
        customer_properties: Mapping[str, Any] | None = None,
        timestamp: float | str | datetime | None = None,
        ip_address: str | None = None,
        is_test: bool = False,  # noqa: FBT001, FBT002 - the old signature
        *,
        external_id: str | int | None = None,
        **payload: Any,
    ) -> str:
        """`klaviyo_relay.track_once`, from the old arguments; see `track`."""
        deprecated("Public.track_once", 'klaviyo_relay.track_once("…", email=…)')
        person = _besides(customer_properties, email=email, id=external_id or id)
        once = {**mapping("properties", properties), TRACK_ONCE_KEY: True}
        given = {"event": event, "customer_properties": person, "properties": once}
        return self._track(given, payload, timestamp=timestamp, ip=ip_address, is_test=is_test)

    def identify(
        self,
        email: str | None = None,
        id: str | int | None = None,  # noqa: A002 - the old name
        properties: Mapping[str, Any] | None = None,
        is_test: bool = False,  # noqa: FBT001, FBT002 - the old signature
        *,
        external_id: str | int | None = None,
        **payload: Any,
    ) -> str:
        """`klaviyo_relay.identify`, from the old arguments; returns the command's id."""
        deprecated("Public.identify", "klaviyo_relay.identify(email=…, first_name=…)")
        _refuse_test(is_test)
        payload.pop("method", None)
        person = _besides(properties, email=email, id=external_id or id)
        return self._send(to_commands({**payload, "properties": person}))[0]

    def _track(
        self, given: dict[str, Any], payload: dict[str, Any], *, is_test: bool, **more: Any
    ) -> str:
        _refuse_test(is_test)
        payload.pop("method", None)
        more = {key: value for key, value in more.items() if value is not None}
        commands = to_commands({**payload, **given, **more})
        ids = self._send(commands)
        return next(each for each, made in zip(ids, commands, strict=True) if type(made) is Track)


class Profiles(Group):
    """update_profile, unset_profile_properties."""

    def update_profile(self, profile_id: str, properties: Mapping[str, Any] | None = None) -> str:
        """`klaviyo_relay.identify(profile_id=…)`; returns the command's id."""
        deprecated("Profiles.update_profile", "klaviyo_relay.identify(profile_id=…, …)")
        person = Person.of("properties", properties, profile_id=profile_id)
        return self._send(identify_commands(person))[0]

    def unset_profile_properties(self, profile_id: str, properties: Iterable[str] = ()) -> str:
        """`klaviyo_relay.identify(profile_id=…, unset=[…])`; returns the command's id."""
        deprecated("Profiles.unset_profile_properties", "klaviyo_relay.identify(unset=[…])")
        command = Identify(profile_id=profile_id, unset=names("properties", properties))
        return self._send([command])[0]


class Lists(Group):
    """The methods that write. Those for many profiles return a command id for each."""

    def create_list(self, list_name: str) -> str:
        """`klaviyo_relay.create_list`; returns the command's id, not the list's.

        The list is known at Klaviyo a moment later: address it by `list_name=` from now on.
        """
        deprecated("Lists.create_list", "klaviyo_relay.create_list(…), then list_name=…")
        return self._send([CreateList(list_name=list_name)])[0]

    def update_list_name_by_id(self, list_id: str, list_name: str) -> str:
        """`klaviyo_relay.rename_list`; returns the command's id."""
        deprecated("Lists.update_list_name_by_id", "klaviyo_relay.rename_list(…, new_name=…)")
        return self._send([RenameList(list_id=list_id, new_name=list_name)])[0]

    def delete_list(self, list_id: str) -> str:
        """`klaviyo_relay.delete_list`; returns the command's id."""
        deprecated("Lists.delete_list", "klaviyo_relay.delete_list(…)")
        return self._send([DeleteList(list_id=list_id)])[0]

    def add_subscribers_to_list(
        self, list_id: str, profiles: Iterable[Mapping[str, Any]]
    ) -> list[str]:
        """`klaviyo_relay.subscribe` for each profile, after an `identify` for what else it says.

        Channels are those of `$consent` and `sms_consent`; without them email. A phone number
        alone is no consent to be sent messages.
        """
        deprecated("Lists.add_subscribers_to_list", "klaviyo_relay.subscribe(…, email=…)")
        commands: list[Command] = []
        for at, profile in enumerate(items("profiles", profiles)):
            person = Person.of(f"profiles[{at}]", profile)
            if person.channels is None and "email" not in person.who:
                raise InvalidCommandError(
                    f"profiles[{at}]", "needs an email, or sms_consent=True beside a phone_number"
                )
            commands += [person.identify()] if person.profile or len(person.who) > 1 else []
            commands.append(person.subscribe(list_id=list_id))
        return self._ids_of(Subscribe, commands)

    def add_members_to_list(self, list_id: str, profiles: Iterable[Mapping[str, Any]]) -> list[str]:
        """`klaviyo_relay.add_to_list` for each profile, after an `identify` for what else it says.

        A `$consent` among it becomes a `subscribe` without a list.
        """
        deprecated("Lists.add_members_to_list", "klaviyo_relay.add_to_list(…, email=…)")
        commands: list[Command] = []
        for at, profile in enumerate(items("profiles", profiles)):
            person = Person.of(f"profiles[{at}]", profile)
            commands += [person.identify()] if person.profile else []
            commands.append(construct(AddToList, {"list_id": list_id, **person.member()}))
            commands += [] if person.channels is None else [person.subscribe()]
        return self._ids_of(AddToList, commands)

    def remove_members_from_list(
        self,
        list_id: str,
        emails: Iterable[str] = (),
        phone_numbers: Iterable[str] = (),
        push_tokens: Iterable[str] = (),
    ) -> list[str]:
        """`klaviyo_relay.remove_from_list` for each of them; consent stays."""
        deprecated("Lists.remove_members_from_list", "klaviyo_relay.remove_from_list(…, email=…)")
        if items("push_tokens", push_tokens):
            raise InvalidCommandError("push_tokens", "no list knows its members by them any more")
        commands = [RemoveFromList(list_id=list_id, email=each) for each in items("emails", emails)]
        commands += [
            RemoveFromList(list_id=list_id, phone_number=each)
            for each in items("phone_numbers", phone_numbers)
        ]
        return self._send(commands)

    def delete_subscribers_from_list(self, list_id: str, emails: Iterable[str]) -> list[str]:
        """`klaviyo_relay.unsubscribe` from the list for each; Klaviyo ends the membership with it.

        (OpenAPI 2026-07-15, bulk unsubscribe: "All profiles will be removed from the provided
        list".)
        """
        deprecated("Lists.delete_subscribers_from_list", "klaviyo_relay.unsubscribe(…, email=…)")
        listed = items("emails", emails)
        return self._send(Unsubscribe(list_id=list_id, email=each) for each in listed)

    def _ids_of(self, kind: type[Command], commands: list[Command]) -> list[str]:
        ids = self._send(commands)
        return [each for each, made in zip(ids, commands, strict=True) if type(made) is kind]


class DataPrivacy(Group):
    """request_profile_deletion."""

    def request_profile_deletion(self, identifier: str, id_type: str = "email") -> str:
        """`klaviyo_relay.delete_profile`; returns the command's id.

        It deletes all profiles that match, where the old call deleted one of them.
        """
        deprecated("DataPrivacy.request_profile_deletion", "klaviyo_relay.delete_profile(email=…)")
        if id_type not in _ID_TYPES:
            raise InvalidCommandError("id_type", f"must be one of {', '.join(_ID_TYPES)}")
        return self._send([construct(DeleteProfile, {_ID_TYPES[id_type]: identifier})])[0]


class Klaviyo:
    """The old client. Its tokens are not used: workers hold the keys (KLAVIYO_API_KEY).

    Args:
        public_token, private_token: accepted, so that the call may stay as it is.
        producer: Defaults to the module's own, as in `klaviyo_relay.track`.
        account: name of the Klaviyo account, instead of its tokens.
    """

    def __init__(
        self,
        public_token: str | None = None,  # noqa: ARG002 - the old signature
        private_token: str | None = None,  # noqa: ARG002 - the old signature
        *,
        producer: Verbs | None = None,
        account: str = DEFAULT_ACCOUNT,
    ) -> None:
        enqueue = None if producer is None else producer.enqueue
        self.Public = Public(enqueue, account)
        self.Profiles = Profiles(enqueue, account)
        self.Lists = Lists(enqueue, account)
        self.DataPrivacy = DataPrivacy(enqueue, account)
        self.Metrics = Group(enqueue, account)
        self.Campaigns = Group(enqueue, account)


_public = Public()
track = _public.track
track_once = _public.track_once
identify = _public.identify


def _besides(old: Mapping[str, Any] | None, **given: Any) -> dict[str, Any]:
    """Old properties with identifiers that were given beside them, in a dict of its own."""
    return {**mapping("properties", old), **{key: value for key, value in given.items() if value}}


def _refuse_test(is_test: object) -> None:
    if is_test:
        raise InvalidCommandError("is_test", _IS_TEST)
