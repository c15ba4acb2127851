"""What a person has agreed to, channel by channel, and what stops mail to them.

Source of the members and of the suppression reasons: the `subscriptions` object of Klaviyo
OpenAPI 2026-07-15.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from .times import iso, iso_or_none

EMAIL = "email.marketing"
OPEN_TRACKING = "email.open_tracking"
_METHOD = "API"

Reason = Literal["HARD_BOUNCE", "INVALID_EMAIL", "SPAM_COMPLAINT", "UNSUBSCRIBE", "USER_SUPPRESSED"]
"""Why mail is stopped, in the account or for a list."""
_LIFTED_BY_SUBSCRIBING: tuple[Reason, ...] = ("UNSUBSCRIBE", "SPAM_COMPLAINT", "USER_SUPPRESSED")


class Channel(msgspec.Struct, gc=False):
    """The state of one channel."""

    consent: str
    changed: float
    source: str | None = None


class ListSuppression(NamedTuple):
    """What stops mail of one list to a person."""

    reason: Reason
    since: float


class Consent(msgspec.Struct, gc=False):
    """The consents of one person."""

    channels: dict[str, Channel] = {}
    suppressions: dict[Reason, float] = {}
    """Reason to the instant it began; the whole account is closed to this address."""
    list_suppressions: dict[str, ListSuppression] = {}
    """By list id."""

    def withdrawn_at(self, channel: str) -> float | None:
        """When `channel` was unsubscribed, if that is its last word."""
        state = self.channels.get(channel)
        return state.changed if state and state.consent == "UNSUBSCRIBED" else None

    def subscribe(self, channel: str, instant: float, source: str | None) -> None:
        """Consent is given; for email this lifts all suppressions but the technical ones."""
        self.channels[channel] = Channel("SUBSCRIBED", instant, source)
        if channel == EMAIL:
            for reason in _LIFTED_BY_SUBSCRIBING:
                self.suppressions.pop(reason, None)

    def unsubscribe(self, channel: str, instant: float) -> None:
        """Consent is withdrawn everywhere."""
        self.channels[channel] = Channel("UNSUBSCRIBED", instant)
        if channel == EMAIL:
            self.suppressions.setdefault("UNSUBSCRIBE", instant)

    def unsubscribe_from_list(self, list_id: str, instant: float) -> None:
        """Consent to email is withdrawn for one list; the others go on."""
        self.suppress("UNSUBSCRIBE", list_id, instant)

    def suppress(self, reason: Reason, list_id: str | None, instant: float) -> None:
        """Stop mail of one list, or all of it; what had stopped it already, stays the reason."""
        if list_id is None:
            self.suppressions.setdefault(reason, instant)
        else:
            self.list_suppressions.setdefault(list_id, ListSuppression(reason, instant))


_NOBODY = Consent()


def document(consent: Consent | None) -> dict[str, Any]:
    """The `subscriptions` object of a profile."""
    record = consent or _NOBODY
    return {
        "email": {"marketing": _email(record), "open_tracking": _tracked(record, OPEN_TRACKING)},
        "sms": {
            "marketing": _sms(record, "marketing"),
            "transactional": _sms(record, "transactional"),
        },
        "mobile_push": {"marketing": _push(record)},
        "whatsapp": {
            kind: {**_tracked(record, f"whatsapp.{kind}"), "phone_number": None}
            for kind in ("marketing", "transactional", "conversational")
        },
    }


def _state(record: Consent, channel: str) -> tuple[str, str | None, Channel | None]:
    """Consent, its time as text, and the state itself if there is one."""
    state = record.channels.get(channel)
    if state is None:
        return "NEVER_SUBSCRIBED", None, None
    return state.consent, iso_or_none(state.changed), state


def _email(record: Consent) -> dict[str, Any]:
    consent, changed, state = _state(record, EMAIL)
    return {
        "can_receive_email_marketing": not record.suppressions,
        "consent": consent,
        "consent_timestamp": changed,
        "last_updated": changed,
        "method": _METHOD if state else None,
        "method_detail": state.source if state else None,
        "custom_method_detail": None,
        "double_optin": False if state else None,
        "suppression": [
            {"reason": reason, "timestamp": iso(since)}
            for reason, since in record.suppressions.items()
        ],
        "list_suppressions": [
            {"list_id": list_id, "reason": one.reason, "timestamp": iso(one.since)}
            for list_id, one in record.list_suppressions.items()
        ],
    }


def _tracked(record: Consent, channel: str) -> dict[str, Any]:
    consent, changed, _ = _state(record, channel)
    return {
        "consent": consent,
        "consent_timestamp": changed,
        "last_updated": changed,
        "created_timestamp": changed,
        "metadata": {},
        "can_receive": consent == "SUBSCRIBED",
        "valid_until": None,
    }


def _sms(record: Consent, kind: str) -> dict[str, Any]:
    consent, changed, state = _state(record, f"sms.{kind}")
    return {
        f"can_receive_sms_{kind}": consent == "SUBSCRIBED",
        "consent": consent,
        "consent_timestamp": changed,
        "method": _METHOD if state else None,
        "method_detail": state.source if state else None,
        "last_updated": changed,
    }


def _push(record: Consent) -> dict[str, Any]:
    consent, changed, _ = _state(record, "push.marketing")
    return {
        "can_receive_push_marketing": consent == "SUBSCRIBED",
        "consent": consent,
        "consent_timestamp": changed,
    }
