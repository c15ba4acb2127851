"""Privacy: one deletion a request, looked at again whether or not Klaviyo knew the person."""

from __future__ import annotations

import pytest

from klaviyo_relay import DeleteProfile
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.outcome import Dead, Dropped, Parked
from klaviyo_relay_worker.plan import privacy
from klaviyo_relay_worker.plan.batch import Situation


def planned(talk, entries, **situation):
    return privacy.choose(entries, Situation(now=talk.now, **situation))


def test_three_go_at_once_each_by_itself(talk):
    entries = talk.entries(*(DeleteProfile(email=f"p{n}@x.io") for n in range(5)))
    batches = planned(talk, entries)
    assert [list(batch.entries) for batch in batches] == [[entry] for entry in entries[:3]]
    assert {batch.endpoint for batch in batches} == {limits.DELETE_PROFILE}


def test_nothing_goes_while_deletions_are_in_flight(talk):
    assert planned(talk, talk.entries(DeleteProfile(email="a@x.io")), is_idle=False) == []


@pytest.mark.parametrize(
    ("command", "profile"),
    [
        (DeleteProfile(email="a@x.io"), {"type": "profile", "attributes": {"email": "a@x.io"}}),
        (
            DeleteProfile(phone_number="+15005550006"),
            {"type": "profile", "attributes": {"phone_number": "+15005550006"}},
        ),
        (DeleteProfile(profile_id="01A"), {"type": "profile", "id": "01A", "attributes": {}}),
    ],
    ids=["email", "phone", "id"],
)
def test_exactly_one_identifier_is_sent(talk, command, profile):
    request = privacy.deletion_request(command)
    assert talk.body(request)["data"]["attributes"]["profile"]["data"] == profile


@pytest.mark.parametrize(("status", "kind"), [(202, Parked), (404, Parked), (400, Dead)], ids=str)
def test_the_answer_settles_the_deletion(talk, status, kind):
    [batch] = planned(talk, talk.entries(DeleteProfile(email="a@x.io")))
    ledger, _ = talk.converse(batch, lambda _: talk.refusal("/data/", status=status))
    assert [type(found) for found in ledger.outcomes.values()] == [kind]


@pytest.mark.parametrize(
    ("deletion", "outcome"),
    [
        (privacy.Deletion(is_superseded=True), Dropped("superseded")),
        (privacy.Deletion(is_under_way=True), Parked(1_800_000_002.0, "in_flight")),
    ],
    ids=["superseded", "under way"],
)
def test_a_deletion_that_klaviyo_need_not_be_asked_for_is_decided_at_once(talk, deletion, outcome):
    [entry] = talk.entries(DeleteProfile(email="a@x.io"))
    [batch] = planned(talk, [entry], facts={entry.key: deletion})
    ledger, requests = talk.converse(batch, lambda _: talk.answer(500))
    assert (batch.endpoint, batch.is_full, requests) == ("", True, [])
    assert ledger.outcomes == {entry.key: outcome}
