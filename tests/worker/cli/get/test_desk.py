"""The desk: what a read leaves behind that finds nothing, or breaks off."""

from __future__ import annotations

import pytest

AWAY = [{"status": 503}]


def test_a_cursor_that_klaviyo_refuses_is_none_to_go_on_with(typed):
    code, _out, err = typed("events", "--cursor", "nonsense")
    assert code == 1
    assert "go on with" not in err


def test_a_read_that_breaks_off_at_once_goes_on_where_it_was_to_begin(typed, sandbox):
    sandbox.set_faults(AWAY)
    code, _out, err = typed("events", "--cursor", "of-before", "--patience", "0")
    assert code == 1
    assert "go on with --cursor 'of-before'" in err


@pytest.mark.parametrize(
    ("verb", "header"),
    [
        (("suppressed",), "PROFILE_ID EMAIL REASON TIMESTAMP LIST_ID"),
        (("lists",), "ID NAME OPT_IN_PROCESS CREATED"),
        (("subscribers", "--list-name", "News"), "ID EMAIL PHONE_NUMBER FIRST_NAME"),
    ],
    ids=["exclusions", "lists", "members"],
)
def test_a_table_without_rows_is_its_header(typed, sandbox, verb, header):
    if "News" in verb:
        sandbox.create_list("News")
    code, out, _err = typed(*verb)
    assert code == 0
    [line] = out.splitlines()
    assert " ".join(line.split()).startswith(header)


def test_the_lists_of_somebody_who_is_on_none_are_a_header(typed, sandbox):
    sandbox.add_push_token("ada@shop.io", "token/1")
    code, out, _err = typed("lists-of", "--email", "ada@shop.io")
    assert (code, out.split()) == (0, ["ID", "NAME", "OPT_IN_PROCESS", "CREATED"])


def test_json_without_rows_is_nothing(typed):
    assert typed("lists", "--json") == (0, "", "")
