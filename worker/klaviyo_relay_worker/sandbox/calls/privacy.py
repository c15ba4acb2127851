"""The operation that deletes a person."""

from __future__ import annotations

from klaviyo_relay_worker.sandbox import bodies, checks
from klaviyo_relay_worker.sandbox.decoding import decode_body, whole
from klaviyo_relay_worker.sandbox.errors import Fault, Refusal, invalid
from klaviyo_relay_worker.sandbox.exchange import Answer, Call
from klaviyo_relay_worker.sandbox.people import Profile, Who
from klaviyo_relay_worker.sandbox.store import Store

_job = whole(bodies.DeletionJob)
_AT = "/data/attributes/profile/data"


def delete_profile(call: Call) -> Answer:
    """POST /api/data-privacy-deletion-jobs: by exactly one identifier; 404 for a stranger."""
    asked = decode_body(_job, call.body).attributes.profile.data
    email, phone = asked.attributes.email, asked.attributes.phone_number
    if sum(bool(one) for one in (asked.id, email, phone)) != 1:
        raise invalid("Give exactly one of id, email and phone_number.", _AT)
    at = f"{_AT}/attributes"
    who = Who(
        asked.id or None,
        checks.given_email(email, at),
        checks.given_phone(phone, at),
    )
    with call.store.open():
        call.store.delete(_known(call.store, who))
    return Answer(202)


def _known(store: Store, who: Who) -> Profile:
    profile = store.people.find(who)
    if profile is None:  # the pointer is as recorded
        raise Refusal(404, Fault("The profile does not exist.", pointer="/data/"))
    return profile
