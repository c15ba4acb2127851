"""The retired API's answers: their old names, words and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from klaviyo_relay_worker import legacy_answers as answers
from klaviyo_relay_worker.klaviyo.aggregates import Aggregate, AggregateRow
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.klaviyo.pages import Pages
from klaviyo_relay_worker.klaviyo.resources import Event, Exclusion, MailingList, Metric, Profile

BERLIN = timezone(timedelta(hours=1))
AT = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=BERLIN)


def test_an_answer_is_its_own_data_with_a_status():
    for answer in (answers.OldDict(a=1), answers.OldList([1])):
        assert answer.data is answer
        assert answer.status_code == 200


def test_a_person_has_klaviyos_own_with_a_dollar_and_yours_beside_them():
    found = answers.person(
        Profile(
            id="01A", email="ada@lovelace.dev", external_id="7", created=AT,
            location={"city": "London", "latitude": 0.0}, properties={"tier": "gold"},
        )
    )  # fmt: skip
    assert found["object"] == "person"
    assert (found["id"], found["$id"], found["$email"]) == ("01A", "7", "ada@lovelace.dev")
    assert (found["$city"], found["$latitude"], found["$zip"]) == ("London", 0.0, "")
    assert (found["tier"], found["$first_name"]) == ("gold", "")
    assert (found["created"], found["updated"]) == ("2026-02-03 03:05:06", None)


def test_an_event_names_its_metric_and_its_person_by_id():
    found = answers.event(
        Event(id="E", metric_id="M", metric="Placed Order", profile_id="P", datetime=AT, uuid="u")
    )
    assert (found["statistic_id"], found["event_name"], found["uuid"]) == ("M", "Placed Order", "u")
    assert found["person"] == {"object": "person", "id": "P"}
    assert found["datetime"] == "2026-02-03 04:05:06.000007+01:00"
    assert answers.event(Event(id="E"))["datetime"] is None


def test_times_are_in_utc_in_the_form_of_their_version():
    assert answers.metric(Metric(id="M", name="n", created=AT))["created"] == "2026-02-03 03:05:06"
    assert answers.member(Profile(id="P", joined_group_at=AT))["created"] == "2026-02-03T03:05:06Z"
    assert answers.plain_time(None) is answers.iso_time(None) is None


def test_a_list_has_no_folder_any_more():
    found = answers.mailing_list(MailingList(id="L", name="News"))
    assert found == {"list_name": "News", "folder_name": None, "created": None, "updated": None}


@pytest.mark.parametrize(
    ("reason", "old"),
    [("HARD_BOUNCE", "bounced"), ("SPAM_COMPLAINT", "reported_spam"), ("NEW", "NEW"), (None, None)],
)
def test_a_reason_has_its_old_word_or_keeps_its_new_one(reason, old):
    told = Exclusion(profile_id="P", email=None, reason=reason, timestamp=AT, list_id=None)
    found = answers.exclusion(told)
    assert (found["id"], found["reason"]) == ("P", old)
    assert found["timestamp"] == found["created"] == "2026-02-03T03:05:06Z"


def test_an_export_has_one_number_a_date_for_each_group():
    dates = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2)]
    rows = [AggregateRow((), {"count": [1.0, 2.0]}), AggregateRow(("DE",), {"count": [3.0, 4.0]})]
    found = answers.export(Aggregate("M", (), dates, rows), "count")
    assert [one["segment"] for one in found] == ["$overall", "DE"]
    assert found[1]["data"] == [
        {"date": "2026-01-01 00:00:00", "values": [3.0]},
        {"date": "2026-01-02 00:00:00", "values": [4.0]},
    ]


def batch_of(*documents):
    """The first page of a read whose documents follow one another."""
    first = Request(endpoint="GET /api/things", path="/api/things?page%5Bcursor%5D=0")
    return answers.Batch(Pages(lambda _request: documents[0], [first], lambda one: one["data"]))


def test_a_marker_leads_to_the_next_page_and_the_last_one_has_none():
    following = {"next": "https://a.klaviyo.com/api/things/?page%5Bcursor%5D=c2"}
    first = batch_of({"data": [1, 2], "links": following})
    assert (first.items, first.marker) == ([1, 2], "c2")
    assert first.records([{"a": 1}]) == {"records": [{"a": 1}], "marker": "c2"}
    last = batch_of({"data": [], "links": {"next": None}})
    assert (last.marker, last.records([])) == (None, {"records": []})
