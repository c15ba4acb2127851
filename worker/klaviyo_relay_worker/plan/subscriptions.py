"""Subscriptions as Klaviyo has them: what a late subscribe must read before it is sent.

A person may have withdrawn consent at Klaviyo itself (a link in a mail, an answer of STOP) while a
subscribe of ours waited. Source of the members and the reasons: the `subscriptions` object of a
profile, Klaviyo OpenAPI 2026-07-15.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from klaviyo_relay.commands import Channel
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Failure, Rule
from klaviyo_relay_worker.plan.batch import PREFIXES, Entry, Ledger, Part, identity
from klaviyo_relay_worker.plan.lists import any_filter
from klaviyo_relay_worker.plan.lookup import Found, look_up
from klaviyo_relay_worker.plan.withdrawals import Withdrawals, addresses_of, narrowed, own_time

# A subscribe that is older than this when it goes out is late.
LATE_SECONDS = 10 * 60
# The person's or a complaint's; the others (HARD_BOUNCE, INVALID_EMAIL) say nothing of consent.
_WITHDRAWING = frozenset(("UNSUBSCRIBE", "SPAM_COMPLAINT", "USER_SUPPRESSED"))
_NO_TIME = 1 << 62
_ADDRESSES = ("email", "phone_number")


def is_late(entry: Entry, now: float) -> bool:
    """Whether so much time has passed that Klaviyo must be asked before a subscribe is sent."""
    return entry.is_redriven or now - entry.envelope.at / 1000 > LATE_SECONDS


class Subscriptions:
    """What Klaviyo says of some addresses."""

    def __init__(self) -> None:
        self._failures: dict[str, Failure] = {}
        self._of: dict[str, list[dict[str, Any]]] = {}

    def read(self, entries: Sequence[Entry]) -> Generator[Request, Answer, None]:
        """Ask for the profiles of all addresses."""
        addresses = {address for entry in entries for _, address in addresses_of(entry.command)}
        for name in _ADDRESSES:
            prefix = PREFIXES[name]
            values = sorted(a.removeprefix(prefix) for a in addresses if a.startswith(prefix))
            found = Found()
            yield from look_up(name, values, partial(subscriptions_request, name), found)
            self._failures.update({prefix + value: why for value, why in found.failures.items()})
            for profile in found.profiles:
                self._learn(name, profile.get("attributes") or {})

    def _learn(self, name: str, attributes: dict[str, Any]) -> None:
        address = identity(name, str(attributes.get(name)))
        self._of.setdefault(address, []).append(attributes.get("subscriptions") or {})

    def failure_of(self, entry: Entry) -> Failure | None:
        """Why Klaviyo would not say anything of a subscribe's addresses, if so."""
        addresses = [address for _, address in addresses_of(entry.command)]
        return next((self._failures[one] for one in addresses if one in self._failures), None)

    def withdrawn(
        self, entry: Entry, list_id: str | None, withdrawals: Withdrawals
    ) -> set[Channel]:
        """The channels of a subscribe that were withdrawn at Klaviyo after it was meant.

        Our own unsubscribe is dated by Klaviyo when it arrives there. Unless the subscribe was
        redriven, it keeps its place behind it, so that date is none of a new change.
        """
        own = own_time(entry)
        own -= own % 1000  # Klaviyo's times may be whole seconds
        return {
            channel
            for channel, address in addresses_of(entry.command)
            for subscriptions in self._of.get(address, ())
            for at in _withdrawals(channel, subscriptions, list_id)
            if at >= own and (entry.is_redriven or not withdrawals.is_ours(address, at))
        }


def wanted_at_klaviyo(
    parts: Sequence[Part], list_id: str | None, withdrawals: Withdrawals, ledger: Ledger
) -> Generator[Request, Answer, list[Part]]:
    """What Klaviyo's own record leaves of late subscribes."""
    subscriptions = Subscriptions()
    yield from subscriptions.read([entry for part in parts for entry in part.entries])
    asked = []
    for part in parts:
        why = subscriptions.failure_of(part.entries[0])
        if why is None:
            asked.append(part)
        else:
            ledger.refuse(part.entries, why)

    def withdrawn(entry: Entry) -> set[Channel]:
        return subscriptions.withdrawn(entry, list_id, withdrawals)

    return narrowed(asked, withdrawn, Rule.NEWER_AT_KLAVIYO, ledger)


def subscriptions_request(name: str, values: Sequence[str]) -> Request:
    """GET the profiles with some addresses or numbers, and their subscriptions."""
    return Request(
        endpoint=limits.GET_PROFILES,
        path=f"/api/profiles?filter={any_filter(name, values)}"
        "&additional-fields%5Bprofile%5D=subscriptions&page%5Bsize%5D=100",
    )


def _withdrawals(
    channel: Channel, subscriptions: dict[str, Any], list_id: str | None
) -> Iterator[int]:
    """Times of the withdrawals in force, in milliseconds since 1970."""
    marketing = (subscriptions.get(channel) or {}).get("marketing") or {}
    yield from _unsubscribed(marketing)
    for found in marketing.get("suppression") or ():
        if found.get("reason") in _WITHDRAWING:
            yield _milliseconds(found.get("timestamp"))
    for found in marketing.get("list_suppressions") or ():
        if list_id is not None and found.get("list_id") == list_id:
            yield _milliseconds(found.get("timestamp"))


def _unsubscribed(marketing: dict[str, Any]) -> Iterator[int]:
    if marketing.get("consent") == "UNSUBSCRIBED":
        times = [marketing.get("consent_timestamp"), marketing.get("last_updated")]
        yield max(map(_milliseconds, filter(None, times)), default=_NO_TIME)


def _milliseconds(text: str | None) -> int:
    """A time without which nobody knows what is newer counts as new."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return _NO_TIME
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
