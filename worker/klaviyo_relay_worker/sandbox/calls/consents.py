"""Operations on consent: subscribe and unsubscribe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from klaviyo_relay_worker.sandbox import checks, consent_bodies
from klaviyo_relay_worker.sandbox.bodies import OnList
from klaviyo_relay_worker.sandbox.consents import EMAIL
from klaviyo_relay_worker.sandbox.decoding import decode_body, each, whole, within
from klaviyo_relay_worker.sandbox.errors import Fault, Refusal, invalid
from klaviyo_relay_worker.sandbox.exchange import Answer, Call
from klaviyo_relay_worker.sandbox.lists import DOUBLE_OPT_IN, MailingList
from klaviyo_relay_worker.sandbox.people import Profile, Who
from klaviyo_relay_worker.sandbox.store import Store
from klaviyo_relay_worker.sandbox.times import instant

PROFILES = ("data", "attributes", "profiles", "data")
_PROFILES_POINTER = "/" + "/".join(PROFILES)

_subscribe = whole(consent_bodies.SubscribeJob)
_subscriber = msgspec.json.Decoder(consent_bodies.Subscriber)
_unsubscribe = whole(consent_bodies.UnsubscribeJob)
_unsubscriber = msgspec.json.Decoder(consent_bodies.Unsubscriber)

_Channels = consent_bodies.ChannelsGiven | consent_bodies.ChannelsWithdrawn


class Subscription(NamedTuple):
    """One person and the channels, each with when consent was given (None: just now)."""

    who: Who
    channels: Mapping[str, float | None]
    push_tokens: tuple[str, ...] = ()


def subscribe(call: Call) -> Answer:
    """POST /api/profile-subscription-bulk-create-jobs: 202 without a body, or 400 for all."""
    data = decode_body(_subscribe, call.body)
    items = data.attributes.profiles.data
    within(len(items), checks.MAX_SUBSCRIBERS, "profiles", _PROFILES_POINTER)
    historical = bool(data.attributes.historical_import)
    present = call.store.clock()

    def check(one: consent_bodies.Subscriber, _: msgspec.Raw) -> Subscription:
        return _checked_subscriber(one, present, historical=historical)

    wanted = each(items, _subscriber, check, _PROFILES_POINTER)
    with call.store.open() as now:
        joined = _list(call.store, data.relationships)
        _refuse_outdated(call.store, wanted)
        for one in wanted:
            if _needs_confirmation(call.store, one.who, joined, historical=historical):
                continue
            _give(call.store, one, joined, data.attributes.custom_source, now)
    return Answer(202, items=len(wanted))


def unsubscribe(call: Call) -> Answer:
    """POST /api/profile-subscription-bulk-delete-jobs: 202 without a body, or 400 for all."""
    data = decode_body(_unsubscribe, call.body)
    items = data.attributes.profiles.data
    within(len(items), checks.MAX_UNSUBSCRIBERS, "profiles", _PROFILES_POINTER)
    wanted = each(items, _unsubscriber, _checked_unsubscriber, _PROFILES_POINTER)
    with call.store.open() as now:
        left = _list(call.store, data.relationships)
        for one in wanted:
            _withdraw(call.store, one, left, now)
            if left is not None and call.settings.unsubscribe_ends_membership:
                _end_membership(call.store, one, left)
    return Answer(202, items=len(wanted))


def _checked_subscriber(
    one: consent_bodies.Subscriber, now: float, *, historical: bool
) -> Subscription:
    given = one.attributes
    who = _who(given.email, given.phone_number, one.id)
    channels = {}
    for name, consent in _channels(given.subscriptions):
        _refuse_unreachable(name, given.email, given.phone_number)
        consented = consent.consented_at if isinstance(consent, consent_bodies.Given) else None
        place = f"/attributes/subscriptions/{name.replace('.', '/')}/consented_at"
        tracking = isinstance(consent, consent_bodies.TrackingGiven)
        channels[name] = (
            None if tracking else _consented_at(consented, now, place, historical=historical)
        )
    push = given.subscriptions.push
    return Subscription(who, channels, tuple(one.token for one in (push and push.tokens) or ()))


def _checked_unsubscriber(one: consent_bodies.Unsubscriber, _: msgspec.Raw) -> Subscription:
    given = one.attributes
    who = _who(given.email, given.phone_number, None)
    names = [name for name, _consent in _channels(given.subscriptions)]
    for name in names:
        _refuse_unreachable(name, given.email, given.phone_number)
    return Subscription(who, dict.fromkeys(names))


def _consented_at(text: str | None, now: float, pointer: str, *, historical: bool) -> float | None:
    """In a historical import it is required and in the past, elsewhere it is refused."""
    if not historical:
        if text is not None:
            raise invalid("consented_at is only valid with historical_import.", pointer)
        return None
    moment = instant(text) if text else None
    if moment is None or moment > now:
        raise invalid("A historical import needs a consented_at in the past.", pointer)
    return moment


def _who(email: str | None, phone: str | None, profile_id: str | None) -> Who:
    at = "/attributes"
    who = Who(profile_id or None, checks.given_email(email, at), checks.given_phone(phone, at))
    if not who.anyone():
        raise invalid("An email or a phone_number is required.", at)
    return who


def _channels(given: _Channels) -> Iterator[tuple[str, object]]:
    """(`email.marketing` and the like, what is said about it), at least one."""
    found = False
    for channel in ("email", "sms", "whatsapp", "push"):
        kinds = getattr(given, channel)
        for kind in ("marketing", "transactional", "conversational", "open_tracking"):
            if (consent := getattr(kinds, kind, None)) is not None:
                found = True
                yield f"{channel}.{kind}", consent
    if not found:
        raise invalid("At least one channel is required.", "/attributes/subscriptions")


def _refuse_unreachable(channel: str, email: str | None, phone: str | None) -> None:
    if channel.startswith("email") and not email:
        raise invalid("Consent to email needs an email.", "/attributes/email")
    if channel.startswith(("sms", "whatsapp")) and not phone:
        raise invalid("Consent to messages needs a phone_number.", "/attributes/phone_number")


def _list(store: Store, relationships: OnList | None) -> MailingList | None:
    if relationships is None or relationships.list is None:
        return None
    list_id = relationships.list.data.id
    one = store.lists.get(list_id)
    if one is None:
        raise invalid(f"List {list_id} does not exist.", "/data/relationships/list/data/id")
    return one


def _refuse_outdated(store: Store, wanted: list[Subscription]) -> None:
    """Refuse consent that is older than the person's last unsubscribe (observed: 400)."""
    faults = []
    for index, one in enumerate(wanted):
        profile = store.people.find(one.who)
        record = profile.consent if profile else None
        for channel, consented in one.channels.items():
            withdrawn = record.withdrawn_at(channel) if record else None
            if consented is not None and withdrawn is not None and consented < withdrawn:
                at = f"{_PROFILES_POINTER}/{index}/attributes/subscriptions"
                place = f"{at}/{channel.replace('.', '/')}/consented_at"
                faults.append(Fault("The profile unsubscribed after consented_at.", pointer=place))
    if faults:
        raise Refusal(400, *faults)


def _needs_confirmation(
    store: Store, who: Who, joined: MailingList | None, *, historical: bool
) -> bool:
    """Whether Klaviyo sends a message first, so that nothing changes yet.

    So it is for a double opt-in list, and for a stranger without a list (observed: never
    becomes a profile). Nobody in the sandbox ever confirms.
    """
    if historical:
        return False
    if joined is None:
        return store.people.find(who) is None
    return joined.opt_in_process == DOUBLE_OPT_IN


def _give(
    store: Store, one: Subscription, joined: MailingList | None, source: str | None, now: float
) -> None:
    profile = _person(store, one.who, now)
    record = profile.permission()
    for channel, consented in one.channels.items():
        record.subscribe(channel, now if consented is None else consented, source)
    for token in one.push_tokens:
        store.people.give_token(profile, token)
    profile.updated = now
    if joined is not None:
        joined.add(profile.id, now)
        if EMAIL in one.channels:
            record.list_suppressions.pop(joined.id, None)


def _withdraw(store: Store, one: Subscription, left: MailingList | None, now: float) -> None:
    """Unsubscribe from a list those who are on it, and all others globally.

    Only email marketing knows lists; the other channels are always global. `updated` does not
    move (observed).
    """
    profile = _person(store, one.who, now)
    member = left is not None and profile.id in left.members
    if left is not None and not member:
        store.tally.global_unsubscribes += 1
    record = profile.permission()
    for channel in one.channels:
        if left is not None and member and channel == EMAIL:
            record.unsubscribe_from_list(left.id, now)
        else:
            record.unsubscribe(channel, now)


def _end_membership(store: Store, one: Subscription, left: MailingList) -> None:
    profile = store.people.find(one.who)
    if profile is not None:
        left.members.pop(profile.id, None)


def _person(store: Store, who: Who, now: float) -> Profile:
    """The profile of `who`, made if need be. An identifier of someone else stays there."""
    profile = store.people.find(who)
    if profile is None:
        return store.people.create(who, now)
    if profile.email and who.email:
        who = who._replace(email=None)
    store.people.assign(profile, who)
    return profile
