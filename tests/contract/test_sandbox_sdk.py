"""Klaviyo's own SDK drives every operation of the sandbox, and its typed answers validate."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from klaviyo_api import KlaviyoAPI
from openapi_client.api_arg_options import USE_DICTIONARY_FOR_RESPONSE_DATA
from openapi_client.exceptions import ApiException

from klaviyo_relay_worker.sandbox import Sandbox


@pytest.fixture
def klaviyo(sandbox: Sandbox) -> KlaviyoAPI:
    """The SDK, pointed at the sandbox, trying everything once."""
    return KlaviyoAPI("pk_test", test_host=sandbox.url, max_retries=1)


@pytest.fixture
def ada(klaviyo: KlaviyoAPI, make: Any) -> str:
    """The id of a profile."""
    body = {"data": make.profile(email="ada@shop.io", first_name="Ada")}
    identifier: str = klaviyo.Profiles.create_or_update_profile(body).data.id
    return identifier


def cursor(links: Any) -> str:
    """The cursor in the link to the next page."""
    return parse_qs(urlsplit(links.next).query)["page[cursor]"][0]


def test_events_are_created_and_read(klaviyo: KlaviyoAPI, make: Any, sandbox: Sandbox) -> None:
    """Single and in bulk, then page by page, with their metric."""
    events = klaviyo.Events
    assert events.create_event(make.event(unique_id="1", value=9.5)) is None
    entries = [make.entry(unique_id=str(number)) for number in range(2, 5)]
    assert events.bulk_create_events(make.bulk(*entries)) is None
    assert sandbox.summary()["events"] == 4
    first = events.get_events(page_size=3, include=["metric", "profile"], sort="-datetime")
    rest = events.get_events(page_size=3, page_cursor=cursor(first.links))
    assert (len(first.data), len(rest.data), rest.links.next) == (3, 1, None)
    assert {one["type"] for one in first.included} == {"metric", "profile"}
    event = events.get_event(first.data[0].id).data
    assert event.attributes.event_properties["$event_id"] in {"1", "2", "3", "4"}
    assert events.get_metric_for_event(event.id).data.attributes.name == "Placed Order"
    more = ["subscriptions"]
    person = events.get_profile_for_event(event.id, additional_fields_profile=more).data
    assert person.attributes.email == "ada@shop.io"
    assert person.attributes.subscriptions.email.marketing.consent == "NEVER_SUBSCRIBED"


def test_metrics_are_read(klaviyo: KlaviyoAPI, make: Any) -> None:
    """All of them and one of them; events are filtered by them."""
    klaviyo.Events.create_event(make.event(name="Viewed"))
    [metric] = klaviyo.Metrics.get_metrics().data
    assert klaviyo.Metrics.get_metric(metric.id).data.attributes.name == "Viewed"
    assert len(klaviyo.Events.get_events(filter=f'equals(metric_id,"{metric.id}")').data) == 1


def test_events_are_counted(klaviyo: KlaviyoAPI, make: Any) -> None:
    """By day and by a dimension, page by page."""
    entries = [
        make.entry(
            time="2026-11-22T10:00:00Z",
            unique_id=str(number),
            properties={"URL": f"/{number:03}"},
        )
        for number in range(501)
    ]
    klaviyo.Events.bulk_create_events(make.bulk(*entries))
    [metric] = klaviyo.Metrics.get_metrics().data
    body = make.aggregate(metric.id, "2026-11-22T00:00:00", "2026-11-24T00:00:00", by=["URL"])
    first = klaviyo.Metrics.query_metric_aggregates(body)
    # The SDK's types know no link to the next page here, its dictionaries do.
    plain = {USE_DICTIONARY_FOR_RESPONSE_DATA: True}
    links = klaviyo.Metrics.query_metric_aggregates(body, options=plain)["links"]
    following = parse_qs(urlsplit(links["next"]).query)["page_cursor"][0]
    body["data"]["attributes"]["page_cursor"] = following
    rest = klaviyo.Metrics.query_metric_aggregates(body)
    assert len(first.data.attributes.dates) == 2
    assert len(first.data.attributes.data) == 500
    assert [one.dimensions for one in rest.data.attributes.data] == [["/500"]]
    assert rest.data.attributes.data[0].measurements == {"count": [1, 0]}
    links = klaviyo.Metrics.query_metric_aggregates(body, options=plain)["links"]
    assert links["next"] is None


def test_profiles_are_written_and_read(klaviyo: KlaviyoAPI, make: Any, ada: str) -> None:
    """Created, imported, patched and found, with subscriptions."""
    profiles = klaviyo.Profiles
    meta = {"patch_properties": {"append": {"tags": "vip"}}}
    changed = {"data": make.profile(id=ada, meta=meta, last_name="King")}
    assert profiles.update_profile(ada, changed).data.attributes.last_name == "King"
    more = ["subscriptions", "predictive_analytics"]
    one = profiles.get_profile(ada, additional_fields_profile=more).data.attributes
    assert one.properties == {"tags": ["vip"]}
    assert one.subscriptions.email.marketing.consent == "NEVER_SUBSCRIBED"
    created = profiles.create_profile({"data": make.profile(email="bob@shop.io")})
    found = profiles.get_profiles(
        filter='any(email,["ada@shop.io","bob@shop.io"])', additional_fields_profile=more
    )
    assert {each.id for each in found.data} == {ada, created.data.id}


def test_an_import_is_followed_to_its_rows(
    klaviyo: KlaviyoAPI, make: Any, ada: str, clock: Any, sandbox: Sandbox
) -> None:
    """The job, its errors, its lists and its profiles."""
    profiles = klaviyo.Profiles
    list_id = sandbox.create_list("News")
    profiles.create_or_update_profile({"data": make.profile(phone_number="+4915112345678")})
    conflict = make.profile(email="ada@shop.io", phone_number="+4915112345678")
    body = make.import_job(make.profile(email="bob@shop.io"), conflict, lists=(list_id,))
    job = profiles.bulk_import_profiles(body).data
    assert job.attributes.status == "queued"
    clock.turn(1)
    done = profiles.get_bulk_import_profiles_job(job.id).data.attributes
    assert (done.status, done.failed_count) == ("complete", 1)
    assert [one.id for one in profiles.get_bulk_import_profiles_jobs().data] == [job.id]
    [error] = profiles.get_errors_for_bulk_import_profiles_job(job.id).data
    assert error.attributes.source.pointer == "/data/attributes/profiles/data/1"
    [listed] = profiles.get_list_for_bulk_import_profiles_job(job.id).data
    [list_reference] = profiles.get_list_ids_for_bulk_import_profiles_job(job.id).data
    [imported] = profiles.get_profile_ids_for_bulk_import_profiles_job(job.id).data
    assert (listed.id, list_reference.id) == (list_id, list_id)
    assert imported.id != ada


def test_lists_and_members_are_managed(klaviyo: KlaviyoAPI, make: Any, ada: str) -> None:
    """Made, renamed, filled, read, emptied and deleted."""
    lists = klaviyo.Lists
    body = make.new_list("News", opt_in_process="single_opt_in")
    list_id = lists.create_list(body).data.id
    renamed = make.new_list("Weekly")
    renamed["data"]["id"] = list_id
    assert lists.update_list(list_id, renamed).data.attributes.name == "Weekly"
    assert lists.add_profiles_to_list(list_id, make.members(ada)) is None
    one = lists.get_list(list_id, additional_fields_list=["profile_count"]).data
    assert one.attributes.profile_count == 1
    assert [each.id for each in lists.get_lists(filter='equals(name,["Weekly"])').data] == [list_id]
    named = 'any(email,["ada@shop.io"])'
    [member] = lists.get_profiles_for_list(
        list_id, filter=named, additional_fields_profile=["subscriptions"]
    ).data
    assert (member.id, member.attributes.email) == (ada, "ada@shop.io")
    assert [each.id for each in lists.get_profile_ids_for_list(list_id).data] == [ada]
    profiles = klaviyo.Profiles
    assert [each.id for each in profiles.get_lists_for_profile(ada).data] == [list_id]
    assert [each.id for each in profiles.get_list_ids_for_profile(ada).data] == [list_id]
    assert lists.remove_profiles_from_list(list_id, make.members(ada)) is None
    assert lists.get_profile_ids_for_list(list_id).data == []
    assert lists.delete_list(list_id) is None


def test_segments_and_members_are_read(
    klaviyo: KlaviyoAPI, ada: str, sandbox: Sandbox, clock: Any
) -> None:
    """Found by name, counted, and their members read page by page."""
    segments = klaviyo.Segments
    buyers = sandbox.create_segment("Buyers", ada, "bob@shop.io")
    clock.turn(1)
    for number in range(10):
        sandbox.create_segment(f"Other {number}")
    first = segments.get_segments(sort="-created")
    rest = segments.get_segments(sort="-created", page_cursor=cursor(first.links))
    assert (len(first.data), [one.id for one in rest.data], rest.links.next) == (10, [buyers], None)
    assert [one.id for one in segments.get_segments(filter='any(name,["Buyers"])').data] == [buyers]
    one = segments.get_segment(buyers, additional_fields_segment=["profile_count"]).data
    assert (one.attributes.name, one.attributes.profile_count) == ("Buyers", 2)
    [member] = segments.get_profiles_for_segment(
        buyers, filter=f'any(profile_id,["{ada}"])', additional_fields_profile=["subscriptions"]
    ).data
    assert (member.id, member.attributes.email) == (ada, "ada@shop.io")
    page = segments.get_profile_ids_for_segment(buyers, page_size=1)
    last = segments.get_profile_ids_for_segment(buyers, page_size=1, page_cursor=cursor(page.links))
    assert {page.data[0].id, last.data[0].id} > {ada}
    assert last.links.next is None
    profiles = klaviyo.Profiles
    assert [each.id for each in profiles.get_segments_for_profile(ada).data] == [buyers]
    assert [each.id for each in profiles.get_segment_ids_for_profile(ada).data] == [buyers]


def test_consent_is_given_and_withdrawn(
    klaviyo: KlaviyoAPI, make: Any, ada: str, sandbox: Sandbox
) -> None:
    """Subscribe, unsubscribe, suppress and unsuppress."""
    profiles = klaviyo.Profiles
    list_id = sandbox.create_list("News")
    joins = make.consent_job("create", make.subscriber("ada@shop.io"), on=list_id)
    leaves = make.consent_job("delete", make.unsubscriber("ada@shop.io"))
    consents = []
    for call, body in (
        (profiles.bulk_subscribe_profiles, joins),
        (profiles.bulk_unsubscribe_profiles, leaves),
    ):
        assert call(body) is None
        one = profiles.get_profile(ada, additional_fields_profile=["subscriptions"])
        consents.append(one.data.attributes.subscriptions.email.marketing.consent)
    assert consents == ["SUBSCRIBED", "UNSUBSCRIBED"]
    stop = profiles.bulk_suppress_profiles(make.suppression_job("create", "ada@shop.io")).data
    go = profiles.bulk_unsuppress_profiles(make.suppression_job("delete", "ada@shop.io")).data
    assert profiles.get_bulk_suppress_profiles_job(stop.id).data.attributes.total_count == 1
    assert profiles.get_bulk_unsuppress_profiles_job(go.id).data.attributes.total_count == 1


def test_exclusions_are_read(klaviyo: KlaviyoAPI, ada: str, sandbox: Sandbox) -> None:
    """Who gets no mail from a list, and why, page by page."""
    profiles = klaviyo.Profiles
    list_id = sandbox.create_list("News")
    sandbox.suppress(ada, "SPAM_COMPLAINT", list_id)
    sandbox.suppress("bob@shop.io", "HARD_BOUNCE", list_id)
    wanted = f'equals(subscriptions.email.marketing.list_suppressions.list_id,"{list_id}")'
    more = ["subscriptions"]
    first = profiles.get_profiles(filter=wanted, page_size=1, additional_fields_profile=more)
    rest = profiles.get_profiles(
        filter=wanted, page_size=1, additional_fields_profile=more, page_cursor=cursor(first.links)
    )
    suppressions = [
        (each.list_id, each.reason)
        for one in (*first.data, *rest.data)
        for each in one.attributes.subscriptions.email.marketing.list_suppressions
    ]
    assert sorted(suppressions) == [(list_id, "HARD_BOUNCE"), (list_id, "SPAM_COMPLAINT")]
    assert rest.links.next is None


def test_a_person_is_deleted(klaviyo: KlaviyoAPI, make: Any, ada: str, sandbox: Sandbox) -> None:
    """By the profile's id."""
    assert klaviyo.Data_Privacy.request_profile_deletion(make.deletion(id=ada)) is None
    assert sandbox.summary()["deletions"] == 1


def test_errors_arrive_as_the_sdk_knows_them(klaviyo: KlaviyoAPI, make: Any, ada: str) -> None:
    """A conflict has its status and its body."""
    with pytest.raises(ApiException) as caught:
        klaviyo.Profiles.create_profile({"data": make.profile(email="ada@shop.io")})
    assert caught.value.status == 409
    assert ada in str(caught.value.body)


def test_a_throttled_call_waits_and_succeeds(make: Any) -> None:
    """The SDK's own retry understands the sandbox's 429."""
    with Sandbox() as sandbox:
        klaviyo = KlaviyoAPI("pk_test", test_host=sandbox.url, max_retries=3)
        sandbox.set_faults([{"status": 429, "retry_after": 0, "times": 1}])
        assert klaviyo.Events.create_event(make.event()) is None
        assert sandbox.summary()["throttled"] == 1
