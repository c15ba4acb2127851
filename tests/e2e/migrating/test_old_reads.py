"""The retired SDK's reads beyond the rows of docs/migrating.md: pages, reasons, nobody."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.errors import NotFoundError
from klaviyo_relay_worker.legacy import Klaviyo

pytestmark = pytest.mark.filterwarnings("ignore:.*retired SDK:DeprecationWarning")


@pytest.mark.parametrize(
    ("method", "wanted"), [("get_all_members", 250), ("get_list_exclusions", 248)]
)
def test_a_marker_leads_from_page_to_page(account, method, wanted):
    one = account()
    one.add_unsubscribed(247)
    read, marker, found, calls = getattr(one.cast["client"].Lists, method), None, set(), 0
    while calls == 0 or marker is not None:
        answer = read(one.cast["list_id"], marker=marker)
        marker, calls = answer.get("marker"), calls + 1
        found |= {record["email"] for record in answer["records"]}
    assert (len(found), calls) == (wanted, 3)


@pytest.mark.parametrize(("sort", "order"), [("asc", [70.0, 130.0]), ("desc", [70.0, 10.0])])
def test_next_leads_on_under_the_same_limit(account, sort, order):
    one = account()
    timeline, values = one.cast["client"].Metrics.get_metrics_timeline, []
    since = one.cast["seconds"]
    while since is not None:
        answer = timeline(since=since, count=1, sort=sort)
        values += [told["event_properties"]["$value"] for told in answer["data"]]
        since = answer["next"]
    assert values == order


def test_nobody_is_found_where_nobody_is_named(account):
    one = account()
    lists, list_id = one.cast["client"].Lists, one.cast["list_id"]
    assert lists.get_members_from_list(list_id, []) == []
    assert lists.get_subscribers_from_list(list_id, []) == []


def test_reasons_have_their_old_words(account):
    one = account()
    list_id = one.cast["list_id"]
    for reason in ("SPAM_COMPLAINT", "HARD_BOUNCE", "INVALID_EMAIL", "USER_SUPPRESSED"):
        one.sandbox.suppress(f"{reason.lower()}@shop.io", reason, list_id)

    records = one.cast["client"].Lists.get_list_exclusions(list_id)["records"]

    assert {record["email"].partition("@")[0]: record["reason"] for record in records} == {
        "bob": "unsubscribed",
        "spam_complaint": "reported_spam",
        "hard_bounce": "bounced",
        "invalid_email": "invalid_email",
        "user_suppressed": "manually_excluded",
    }


def test_a_list_that_is_not_there_is_an_error_on_its_first_page_too(account):
    lists = account().cast["client"].Lists
    for read in (lists.get_list_exclusions, lists.get_all_members):
        with pytest.raises(NotFoundError):
            read("nOnE00")


def test_a_client_without_a_reader_reads_with_the_settings_of_its_account(account, monkeypatch):
    one = account()
    monkeypatch.setenv("KLAVIYO_API_KEY_SHOP", "pk_shop")
    monkeypatch.setenv("KLAVIYO_API_URL", one.sandbox.url)
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", one.settings.redis_url)
    client = Klaviyo(account="shop")

    assert client.Lists.get_lists().data == [
        {"list_id": one.cast["list_id"], "list_name": "Newsletter"}
    ]
    reader = client.Lists._asking.reader
    assert client.Metrics._asking.reader is reader
    reader.close()
