"""The shapes of subscribe and unsubscribe requests.

Source: SubscriptionCreateJobCreateQuery and SubscriptionDeleteJobCreateQuery of Klaviyo
OpenAPI 2026-07-15. Names and custom properties have no place in them, so they are refused.
`email.click_tracking`, new at revision 2026-10-15, is not modelled.
"""

from __future__ import annotations

from typing import Literal

from .bodies import OnList, Profiles, Shape


class Given(Shape):
    """A consent that is given; `consented_at` only in a historical import."""

    consent: Literal["SUBSCRIBED"]
    consented_at: str | None = None


class TrackingGiven(Shape):
    """Consent to open tracking."""

    consent: Literal["SUBSCRIBED"]


class EmailGiven(Shape):
    """Consents by email."""

    marketing: Given | None = None
    open_tracking: TrackingGiven | None = None


class MessageGiven(Shape):
    """Consents by SMS or WhatsApp."""

    marketing: Given | None = None
    transactional: Given | None = None


class DeviceMetadata(Shape):
    """The device behind a push token."""

    device_id: str | None = None
    klaviyo_sdk: (
        Literal["android", "flutter", "flutter_community", "react_native", "swift"] | None
    ) = None
    sdk_version: str | None = None
    device_model: str | None = None
    os_name: Literal["android", "ios", "ipados", "macos", "tvos"] | None = None
    os_version: str | None = None
    manufacturer: str | None = None
    app_name: str | None = None
    app_version: str | None = None
    app_build: str | None = None
    app_id: str | None = None
    environment: Literal["debug", "release"] | None = None


class PushToken(Shape):
    """A push token."""

    token: str
    platform: Literal["android", "ios"]
    vendor: Literal["apns", "fcm"]
    enablement_status: (
        Literal["AUTHORIZED", "DENIED", "NOT_DETERMINED", "PROVISIONAL", "UNAUTHORIZED"] | None
    ) = None
    background: Literal["AVAILABLE", "DENIED", "RESTRICTED"] | None = None
    device_metadata: DeviceMetadata | None = None


class PushGiven(Shape):
    """Consent by push."""

    marketing: Given
    tokens: list[PushToken] | None = None
    anonymous_id: str | None = None


class ChannelsGiven(Shape):
    """The consents given, by channel."""

    email: EmailGiven | None = None
    sms: MessageGiven | None = None
    whatsapp: MessageGiven | None = None
    push: PushGiven | None = None


class SubscriberAttributes(Shape):
    """Who subscribes, and to what."""

    subscriptions: ChannelsGiven
    email: str | None = None
    phone_number: str | None = None
    age_gated_date_of_birth: str | None = None


class Subscriber(Shape):
    """One profile of a subscribe job."""

    type: Literal["profile"]
    attributes: SubscriberAttributes
    id: str | None = None


class SubscribeAttributes(Profiles):
    """The profiles of a subscribe job, and where the consent comes from."""

    custom_source: str | None = None
    historical_import: bool | None = None


class SubscribeJob(Shape):
    """POST /api/profile-subscription-bulk-create-jobs."""

    type: Literal["profile-subscription-bulk-create-job"]
    attributes: SubscribeAttributes
    relationships: OnList | None = None


class Withdrawn(Shape):
    """A consent that is withdrawn."""

    consent: Literal["UNSUBSCRIBED"]


class EmailWithdrawn(Shape):
    """Consents by email, withdrawn."""

    marketing: Withdrawn | None = None
    open_tracking: Withdrawn | None = None


class SmsWithdrawn(Shape):
    """Consents by SMS, withdrawn."""

    marketing: Withdrawn | None = None
    transactional: Withdrawn | None = None


class WhatsappWithdrawn(SmsWithdrawn):
    """Consents by WhatsApp, withdrawn."""

    conversational: Withdrawn | None = None


class PushWithdrawn(Shape):
    """Consent by push, withdrawn."""

    marketing: Withdrawn
    tokens: list[PushToken]


class ChannelsWithdrawn(Shape):
    """The consents withdrawn, by channel."""

    email: EmailWithdrawn | None = None
    sms: SmsWithdrawn | None = None
    whatsapp: WhatsappWithdrawn | None = None
    push: PushWithdrawn | None = None


class UnsubscriberAttributes(Shape):
    """Who unsubscribes, and from what."""

    subscriptions: ChannelsWithdrawn
    email: str | None = None
    phone_number: str | None = None


class Unsubscriber(Shape):
    """One profile of an unsubscribe job; it has no `id` member."""

    type: Literal["profile"]
    attributes: UnsubscriberAttributes


class UnsubscribeJob(Shape):
    """POST /api/profile-subscription-bulk-delete-jobs."""

    type: Literal["profile-subscription-bulk-delete-job"]
    attributes: Profiles
    relationships: OnList | None = None
