"""Consent in the sandbox: given, withdrawn, suppressed, and Klaviyo's traps with it."""

from __future__ import annotations

from typing import Any

from klaviyo_relay_worker.sandbox import Sandbox

SUBSCRIBE = "/api/profile-subscription-bulk-create-jobs"
UNSUBSCRIBE = "/api/profile-subscription-bulk-delete-jobs"
SUPPRESS = "/api/profile-suppression-bulk-create-jobs"
UNSUPPRESS = "/api/profile-suppression-bulk-delete-jobs"
ROWS = "/data/attributes/profiles/data"


def test_subscribing_to_a_list_joins_it(api: Any, make: Any, sandbox: Sandbox) -> None:
    """The profile is made, subscribed and put on the list."""
    list_id = sandbox.create_list("News")
    body = make.consent_job(
        "create", make.subscriber("ada@shop.io"), on=list_id, custom_source="Shop"
    )
    answer = api.post(SUBSCRIBE, body)
    assert (answer.status_code, answer.content) == (202, b"")
    consent = api.marketing("ada@shop.io")
    assert (consent["consent"], consent["method_detail"]) == ("SUBSCRIBED", "Shop")
    assert sandbox.summary()["lists"][list_id]["members"] == 1


def test_double_opt_in_waits_for_a_confirmation(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Nothing changes until someone confirms, unless the consent is historical."""
    list_id = sandbox.create_list("News", "double_opt_in")
    fresh = make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id)
    assert api.post(SUBSCRIBE, fresh).status_code == 202
    assert sandbox.summary()["profiles"] == 0
    old = make.subscriber("ada@shop.io", "2020-01-01T00:00:00Z")
    body = make.consent_job("create", old, on=list_id, historical_import=True)
    assert api.post(SUBSCRIBE, body).status_code == 202
    assert sandbox.summary()["lists"][list_id]["members"] == 1


def test_a_stranger_without_a_list_never_becomes_a_profile(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """202, and nothing happens."""
    body = make.consent_job("create", make.subscriber("ada@shop.io"))
    assert api.post(SUBSCRIBE, body).status_code == 202
    assert sandbox.summary()["profiles"] == 0


def test_subscribing_takes_no_names_and_no_properties(api: Any, make: Any) -> None:
    """The item is named, and the whole request fails."""
    body = make.consent_job(
        "create",
        make.subscriber("ada@shop.io"),
        make.subscriber("bob@shop.io", first_name="Bob"),
        make.subscriber("cyd@shop.io", properties={}),
    )
    assert api.pointers(SUBSCRIBE, body) == [
        f"{ROWS}/1/attributes/first_name",
        f"{ROWS}/2/attributes/properties",
    ]


def test_consented_at_belongs_to_historical_imports(api: Any, make: Any, sandbox: Sandbox) -> None:
    """There it is required and in the past, elsewhere it is refused."""
    list_id = sandbox.create_list("News")
    place = f"{ROWS}/0/attributes/subscriptions/email/marketing/consented_at"
    past, future = "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"
    for when, historical in ((past, False), (None, True), (future, True)):
        one = make.subscriber("ada@shop.io", when)
        body = make.consent_job("create", one, on=list_id, historical_import=historical)
        assert api.pointers(SUBSCRIBE, body) == [place]
    one = make.subscriber("ada@shop.io", past)
    body = make.consent_job("create", one, on=list_id, historical_import=True)
    assert api.post(SUBSCRIBE, body).status_code == 202
    assert api.marketing("ada@shop.io")["consent_timestamp"] == "2020-01-01T00:00:00+00:00"


def test_consent_older_than_an_unsubscribe_is_refused(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """History cannot overrule what the person said later."""
    list_id = sandbox.create_list("News")
    api.post(UNSUBSCRIBE, make.consent_job("delete", make.unsubscriber("ada@shop.io")))
    old = make.subscriber("ada@shop.io", "2020-01-01T00:00:00Z")
    body = make.consent_job("create", old, on=list_id, historical_import=True)
    place = f"{ROWS}/0/attributes/subscriptions/email/marketing/consented_at"
    assert api.pointers(SUBSCRIBE, body) == [place]


def test_subscribing_again_lifts_suppressions(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Unsubscribed, then subscribed: mail may go out again."""
    list_id = sandbox.create_list("News")
    api.post(UNSUBSCRIBE, make.consent_job("delete", make.unsubscriber("ada@shop.io")))
    before = api.marketing("ada@shop.io")
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id))
    after = api.marketing("ada@shop.io")
    assert [one["reason"] for one in before["suppression"]] == ["UNSUBSCRIBE"]
    assert not before["can_receive_email_marketing"]
    assert (after["consent"], after["suppression"]) == ("SUBSCRIBED", [])
    assert after["can_receive_email_marketing"]


def test_a_member_is_unsubscribed_from_the_list_alone(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """The rest of the consent goes on, and subscribing lifts it again."""
    list_id = sandbox.create_list("News")
    subscribe = make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id)
    api.post(SUBSCRIBE, subscribe)
    leave = make.consent_job("delete", make.unsubscriber("ada@shop.io"), on=list_id)
    assert api.post(UNSUBSCRIBE, leave).status_code == 202
    consent = api.marketing("ada@shop.io")
    assert consent["consent"] == "SUBSCRIBED"
    assert [one["list_id"] for one in consent["list_suppressions"]] == [list_id]
    assert sandbox.summary()["global_unsubscribes"] == 0
    field = "subscriptions.email.marketing.list_suppressions.list_id"
    found = api.get("/api/profiles", filter=f'equals({field},"{list_id}")')["data"]
    assert [one["attributes"]["email"] for one in found] == ["ada@shop.io"]
    assert api.get("/api/profiles", filter=f'equals({field},"other")')["data"] == []
    api.post(SUBSCRIBE, subscribe)
    assert api.marketing("ada@shop.io")["list_suppressions"] == []


def test_who_is_not_on_the_list_is_unsubscribed_globally(
    api: Any, make: Any, sandbox: Sandbox
) -> None:
    """Klaviyo's trap: counted, so that a test can see it happen."""
    news, other = sandbox.create_list("News"), sandbox.create_list("Other")
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=news))
    leave = make.consent_job("delete", make.unsubscriber("ada@shop.io"), on=other)
    assert api.post(UNSUBSCRIBE, leave).status_code == 202
    assert api.marketing("ada@shop.io")["consent"] == "UNSUBSCRIBED"
    assert sandbox.summary()["global_unsubscribes"] == 1


def test_a_meant_global_unsubscribe_is_not_counted(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Without a list it is what was asked for."""
    api.post(UNSUBSCRIBE, make.consent_job("delete", make.unsubscriber("ada@shop.io")))
    assert api.marketing("ada@shop.io")["consent"] == "UNSUBSCRIBED"
    assert sandbox.summary()["global_unsubscribes"] == 0


def test_an_unknown_list_is_named(api: Any, make: Any) -> None:
    """For subscribing and unsubscribing, at the relationship."""
    place = ["/data/relationships/list/data/id"]
    joins = make.consent_job("create", make.subscriber("ada@shop.io"), on="NoList")
    leaves = make.consent_job("delete", make.unsubscriber("ada@shop.io"), on="NoList")
    assert api.pointers(SUBSCRIBE, joins) == place
    assert api.pointers(UNSUBSCRIBE, leaves) == place


def test_a_channel_needs_its_identifier(api: Any, make: Any, sandbox: Sandbox) -> None:
    """SMS needs a phone number, and gets its own consent."""
    list_id = sandbox.create_list("News")
    sms = {"email": {"marketing": {"consent": "SUBSCRIBED"}}}
    sms["sms"] = {"marketing": {"consent": "SUBSCRIBED"}}
    one = make.subscriber("ada@shop.io", subscriptions=sms)
    body = make.consent_job("create", one, on=list_id)
    assert api.pointers(SUBSCRIBE, body) == [f"{ROWS}/0/attributes/phone_number"]
    one["attributes"]["phone_number"] = "+4915112345678"
    assert api.post(SUBSCRIBE, body).status_code == 202
    subscriptions = api.profile_of("ada@shop.io")["attributes"]["subscriptions"]
    assert subscriptions["sms"]["marketing"]["can_receive_sms_marketing"]
    assert not subscriptions["sms"]["transactional"]["can_receive_sms_transactional"]


def test_unsuppressing_lifts_what_suppressing_did(api: Any, make: Any, clock: Any) -> None:
    """And nothing else: an unsubscribe stays."""
    api.post(UNSUBSCRIBE, make.consent_job("delete", make.unsubscriber("ada@shop.io")))
    reasons = []
    for path, kind in ((SUPPRESS, "create"), (UNSUPPRESS, "delete")):
        job = api.post(path, make.suppression_job(kind, "ada@shop.io"))
        assert (job.status_code, job.json()["data"]["attributes"]["status"]) == (202, "queued")
        clock.turn(1)
        done = api.get(f"{path}/{job.json()['data']['id']}")["data"]["attributes"]
        assert (done["status"], done["completed_count"]) == ("complete", 1)
        found = api.marketing("ada@shop.io")["suppression"]
        reasons.append([one["reason"] for one in found])
    assert reasons == [["UNSUBSCRIBE", "USER_SUPPRESSED"], ["UNSUBSCRIBE"]]


def test_a_suppression_names_one_target(api: Any, make: Any, sandbox: Sandbox) -> None:
    """Emails or a list, not both and not neither; a list means all its members."""
    list_id = sandbox.create_list("News")
    api.post(SUBSCRIBE, make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id))
    both = make.suppression_job("create", "bob@shop.io")
    relation = {"list": {"data": {"type": "list", "id": list_id}}}
    both["data"]["relationships"] = relation
    assert api.pointers(SUPPRESS, both) == ["/data"]
    neither = make.suppression_job("create")
    neither["data"]["attributes"] = {}
    assert api.pointers(SUPPRESS, neither) == ["/data"]
    neither["data"]["relationships"] = relation
    assert api.post(SUPPRESS, neither).json()["data"]["attributes"]["total_count"] == 1
