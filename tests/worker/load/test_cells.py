from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay_worker.load import cells

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "number"),
    [("23.99", 23.99), ("0", 0), ("-5", -5), ("+7", 7), ("1e3", 1000.0), ("007", 7)],
)
def test_text_that_is_a_number_becomes_one(text, number):
    found = cells.number("value", text)
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize(
    "text",
    ["1,234.50", "1_000", " 5", "5 EUR", "nan", "inf", "", ".5", "5.", "0x1f", "٣", "1" * 40],
)
def test_what_only_looks_like_a_number_is_refused(text):
    with pytest.raises(InvalidCommandError, match="value: must be a number"):
        cells.number("value", text)


@pytest.mark.parametrize("value", [5, 5.5, Decimal("5.5"), True])
def test_what_is_no_text_stays_for_the_commands_own_check(value):
    assert cells.number("value", value) is value


@pytest.mark.parametrize(
    ("text", "said"), [("TRUE", True), ("yes", True), ("0", False), ("n", False)]
)
def test_booleans_are_read_in_the_usual_words(text, said):
    assert cells.boolean("b", text) is said


def test_other_words_are_no_booleans():
    with pytest.raises(InvalidCommandError, match="true or false"):
        cells.boolean("b", "perhaps")


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-31T12:00:00Z", "2026-01-31 13:00:00+01:00", "1769860800", "1769860800.0",
        1769860800, 1769860800.0, NOON,
    ],
)  # fmt: skip
def test_moments_are_iso_8601_or_unix_seconds(value):
    assert cells.moments(None)("time", value) == NOON


def test_a_time_without_a_zone_is_one_of_the_zone_that_was_named():
    berlin = cells.moments(ZoneInfo("Europe/Berlin"))
    assert berlin("time", "2026-01-31 13:00:00") == NOON
    assert berlin("time", datetime(2026, 1, 31, 13)) == NOON  # noqa: DTZ001 - that is the case
    assert berlin("time", date(2026, 1, 31)).astimezone(UTC) == datetime(
        2026, 1, 30, 23, tzinfo=UTC
    )
    assert berlin("time", "2026-01-31T12:00:00Z") == NOON


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("2026-01-31 12:00:00", "--time-zone"),
        ("31.01.2026", "ISO 8601"),
        ("yesterday", "ISO 8601"),
        (1769860800000, "milliseconds"),
    ],
)
def test_other_times_are_refused_with_what_to_do(value, rule):
    with pytest.raises(InvalidCommandError, match=rule):
        cells.moments(None)("time", value)


def test_lists_are_split_and_json_is_decoded():
    assert cells.listed("channels", "email, sms") == ("email", "sms")
    assert cells.decoded("properties", '{"a": [1]}') == {"a": [1]}
    with pytest.raises(InvalidCommandError, match="JSON"):
        cells.decoded("properties", "{a}")


def test_json_that_is_not_of_the_files_encoding_is_refused():
    latin = b'{"name": "Zo\xe9"}'.decode("utf-8", "surrogateescape")
    with pytest.raises(InvalidCommandError, match="properties: must be JSON"):
        cells.decoded("properties", latin)


def test_whole_numbers_are_identifiers_too():
    assert cells.text("external_id", 42) == "42"


def test_uuids_are_identifiers_too():
    text = "8c6f0ad3-7a0c-4a57-8e45-3a3c2f4f1a10"
    assert cells.text("external_id", UUID(text)) == text
