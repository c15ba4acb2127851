"""Operations on suppressions: no mail to these addresses, whatever they agreed to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from klaviyo_relay_worker.sandbox import bodies, checks, resources
from klaviyo_relay_worker.sandbox.consents import Consent, Reason
from klaviyo_relay_worker.sandbox.decoding import decode_body, each, whole, within
from klaviyo_relay_worker.sandbox.errors import invalid, not_found
from klaviyo_relay_worker.sandbox.exchange import Answer, Call, answer
from klaviyo_relay_worker.sandbox.groups import Group
from klaviyo_relay_worker.sandbox.jobs import Job
from klaviyo_relay_worker.sandbox.people import Profile, Who
from klaviyo_relay_worker.sandbox.store import Store

SUPPRESS, UNSUPPRESS = "profile-suppression-bulk-create-job", "profile-suppression-bulk-delete-job"
PROFILES = ("data", "attributes", "profiles", "data")
_PROFILES_POINTER = "/" + "/".join(PROFILES)
_REASON: Reason = "USER_SUPPRESSED"

_suppress = whole(bodies.SuppressJob)
_unsuppress = whole(bodies.UnsuppressJob)
_profile = msgspec.json.Decoder(bodies.SuppressedProfile)

_Named = bodies.Data[bodies.Reference] | None
Change = Callable[[Store, list[str], Job], None]


def suppress(call: Call) -> Answer:
    """POST /api/profile-suppression-bulk-create-jobs."""
    data = decode_body(_suppress, call.body)
    return _queue(call, SUPPRESS, data.attributes, data.relationships, _add)


def unsuppress(call: Call) -> Answer:
    """POST /api/profile-suppression-bulk-delete-jobs: lifts what `suppress` did, no more."""
    data = decode_body(_unsuppress, call.body)
    return _queue(call, UNSUPPRESS, data.attributes, data.relationships, _lift)


def get_suppress_job(call: Call) -> Answer:
    """GET /api/profile-suppression-bulk-create-jobs/{id}."""
    return _job(call, SUPPRESS)


def get_unsuppress_job(call: Call) -> Answer:
    """GET /api/profile-suppression-bulk-delete-jobs/{id}."""
    return _job(call, UNSUPPRESS)


def _queue(
    call: Call,
    kind: str,
    attributes: bodies.SuppressionProfiles,
    relationships: bodies.OnGroup | None,
    change: Change,
) -> Answer:
    listed = relationships.list if relationships else None
    segment = relationships.segment if relationships else None
    ways = sum(one is not None for one in (attributes.profiles, listed, segment))
    if ways != 1:
        raise invalid("Give exactly one of profiles, a list or a segment.", "/data")
    emails = _emails(attributes.profiles) if attributes.profiles else None
    with call.store.open() as now:
        if emails is None:
            emails = _emails_in(call.store, listed, segment)
        delay = call.settings.import_delay_seconds
        work = partial(change, call.store, emails)
        job = call.store.jobs.create(
            kind,
            total=len(emails),
            work=work,
            now=now,
            delay=delay,
            list_ids=(listed.data.id,) if listed else (),
            segment_ids=(segment.data.id,) if segment else (),
        )
        document = {"data": resources.suppression_job(call, job, now)}
    return answer(202, document, job.total)


def _emails(items: bodies.Items) -> list[str]:
    within(len(items.data), checks.MAX_SUPPRESSED, "profiles", _PROFILES_POINTER)
    return each(items.data, _profile, _checked, _PROFILES_POINTER)


def _checked(one: bodies.SuppressedProfile, _: msgspec.Raw) -> str:
    return checks.checked_email(one.attributes.email, "/attributes/email")


def _emails_in(store: Store, listed: _Named, segment: _Named) -> list[str]:
    """The emails of those who are on the list, or in the segment."""
    one: Group | None = store.lists.get(listed.data.id) if listed else None
    one = store.segments.get(segment.data.id) if segment else one
    if one is None:
        raise invalid("The list or segment does not exist.", "/data/relationships")
    members = (store.people.get(profile_id) for profile_id in one.members)
    return [member.email for member in members if member and member.email]


def _add(store: Store, emails: list[str], job: Job) -> None:
    for email in emails:
        record = _record(store, email, job.due)
        job.skipped += _REASON in record.suppressions
        record.suppress(_REASON, None, job.due)


def _lift(store: Store, emails: list[str], job: Job) -> None:
    for email in emails:
        profile = store.people.holder("email", email)
        record = profile.consent if profile else None
        lifted = record is not None and record.suppressions.pop(_REASON, None) is not None
        job.skipped += not lifted


def _record(store: Store, email: str, now: float) -> Consent:
    """The consent record of an address; unknown ones get a profile, so that it holds later."""
    who = Who(email=email)
    profile: Profile = store.people.find(who) or store.people.create(who, now)
    return profile.permission()


def _job(call: Call, kind: str) -> Answer:
    with call.store.open() as now:
        job = call.store.jobs.get(kind, call.ids[0])
        if job is None:
            raise not_found(kind.replace("-", " "), call.ids[0])
        return answer(200, {"data": resources.suppression_job(call, job, now)})
