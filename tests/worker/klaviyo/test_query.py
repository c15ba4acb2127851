"""Paths of reads and their filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from klaviyo_relay_worker.klaviyo import query
from klaviyo_relay_worker.sandbox import filters


def test_a_path_names_parameters_as_json_api_does():
    path = query.path(
        "/api/x", page_size=5, page_cursor=None, additional_fields_profile="a,b", fields_list="n"
    )
    assert parse_qs(urlsplit(path).query) == {
        "page[size]": ["5"],
        "additional-fields[profile]": ["a,b"],
        "fields[list]": ["n"],
    }


def test_a_path_without_parameters_has_no_question_mark():
    assert query.path("/api/x", [], sort=None) == "/api/x"


def test_times_are_in_utc_and_unquoted():
    berlin = timezone(timedelta(hours=1))
    assert query.since("datetime", datetime(2026, 1, 1, 1, tzinfo=berlin)) == (
        "greater-or-equal(datetime,2026-01-01T00:00:00Z)"
    )
    assert query.until("datetime", datetime(2026, 1, 1, 0, 0, 0, 5000, tzinfo=UTC)) == (
        "less-than(datetime,2026-01-01T00:00:00.005000Z)"
    )


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(st.lists(texts, min_size=1, max_size=5), texts)
def test_whatever_is_looked_for_is_what_the_filter_says(values, one):
    path = query.path("/api/x", [query.any_of("external_id", values), query.equals("id", one)])
    [text] = parse_qs(urlsplit(path).query)["filter"]
    allowed = {"external_id": filters.ANY, "id": filters.ANY}
    found = filters.parse(text, allowed)
    assert [condition.values for condition in found] == [tuple(values), (one,)]
