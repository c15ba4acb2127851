import math
import time
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from uuid import UUID

import msgspec
import numpy as np
import pandas as pd
import pytest
from django.utils.safestring import SafeString

from klaviyo_relay import InvalidCommandError, validation

SECRET = "geheim7"


def nested(levels, bottom=1):
    """A dict of so many levels, itself included."""
    value = bottom
    for _ in range(levels):
        value = {"a": value}
    return value


def circle():
    value = {}
    value["a"] = [value]
    return value


def refusal(check, value):
    """What the check says of a bad value; it must name the field it was given."""
    with pytest.raises(InvalidCommandError) as caught:
        check("thing", value)
    assert caught.value.field.startswith("thing")
    assert caught.value.rule
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


GOOD = {
    "text": (validation.text, ["a", " a ", "ü", "a" * 100_000, "👩‍💻"]),
    "email": (
        validation.email,
        [
            "ada@lovelace.dev",
            "a.b+c@mail.example.co.uk",
            "o'hara@example.com",
            "jörg@bücher.example",
            "1@2.de",
            "a" * 88 + "@example.com",
        ],
    ),
    "phone_number": (validation.phone_number, ["+15005550006", "+4930123456", "+861234567890123"]),
    "currency": (validation.currency, ["USD", "EUR"]),
    "list_id": (validation.list_id, ["Y6nRLr", "000000"]),
    "account": (validation.account, ["default", "shop_2", "a"]),
    "boolean": (validation.boolean, [True, False]),
    "seconds": (validation.seconds, [0, 0.5, 86_400]),
    "number": (validation.number, [0, -1, 2**63 - 1, -(2**63), 23.99, Decimal("23.99"), 1e308]),
    "time": (
        validation.time,
        [
            datetime.now(UTC),
            datetime(1990, 1, 1, 0, 0, 1, tzinfo=UTC),
            datetime.now(UTC) + timedelta(days=364),
            datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=5, minutes=30))),
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.123456+02:00",
        ],
    ),
    "past_time": (validation.past_time, [datetime.now(UTC), "2020-01-31T12:00:00Z"]),
    "properties": (
        validation.properties,
        [
            {},
            {str(n): n for n in range(400)},
            nested(10),
            {"a": "b" * 100_000},
            {"a": "ü" * 50_000},
            {"a": list(range(4_000))},
            {"": 1, "ü": None},
        ],
    ),
    "location": (
        validation.location,
        [{"city": "Berlin", "latitude": 52.5, "longitude": -13, "zip": None}, {}],
    ),
    "names": (validation.names, [["a"], ("a", "b"), {"a"}, (name for name in "ab"), ["n"] * 400]),
}

BAD = {
    "text": (validation.text, ["", "  ", "\n", None, 5, b"geheim7", ["geheim7"], "\ud800geheim7"]),
    "text too long": (validation.text, [SECRET * 20_000]),
    "email": (
        validation.email,
        [
            SECRET,
            "",
            "geheim7@localhost",
            "geheim7@@example.com",
            "geheim7 @example.com",
            "geheim7@example.com, b@example.com",
            "Ada <geheim7@example.com>",
            "geheim7@example.com\n",
            "geheim7..x@example.com",
            ".geheim7@example.com",
            "geheim7.@example.com",
            "geheim7@-example.com",
            "geheim7@example.123",
            "geheim7\x00@example.com",
            "\ud800geheim7@example.com",
            "geheim7" + "a" * 90 + "@example.com",
            b"geheim7@example.com",
            42,
        ],
    ),
    "phone_number": (
        validation.phone_number,
        [
            "15005550006",
            "+1 500 555 0006",
            "+1-500-5550006",
            "+0123456789",
            "+12345",
            "+1234567890123456",
            "+15005550006\n",
            "+１５００５５５０００６",  # noqa: RUF001 - digits of another script are the case
            "",
            15005550006,
        ],
    ),
    "currency": (validation.currency, ["usd", "US", "USDT", "€", "", 840, None]),
    "list_id": (validation.list_id, ["geheim7", "abc12", "abc 12", "abc-12", "", 123456]),
    "account": (validation.account, ["Geheim7", "1a", "", "a:b", "a{b}", "a" * 33, "ä", 1, None]),
    "boolean": (validation.boolean, [1, 0, "true", None]),
    "seconds": (validation.seconds, [-1, -0.1, math.nan, math.inf, "7", None, True, Decimal(7)]),
    "number": (
        validation.number,
        [
            math.nan,
            math.inf,
            -math.inf,
            Decimal("NaN"),
            Decimal("sNaN"),
            Decimal("Infinity"),
            Decimal("1e400"),
            2**63,
            -(2**63) - 1,
            10**5_000,
            True,
            "23.99",
            1j,
            None,
        ],
    ),
    "time": (
        validation.time,
        [
            datetime(2026, 1, 31),  # noqa: DTZ001 - the naive one is the case
            "2026-01-31T12:00:00",
            "2026-01-31",
            "yesterday",
            "",
            datetime(1990, 1, 1, tzinfo=UTC),
            datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23))),
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=23))),
            datetime.now(UTC) + timedelta(days=366),
            date(2026, 1, 31),
            1_700_000_000,
            1_700_000_000.5,
            time.gmtime(0),
        ],
    ),
    "past_time": (validation.past_time, [datetime.now(UTC) + timedelta(hours=1)]),
    "properties": (
        validation.properties,
        [
            None,
            [],
            "geheim7",
            [("a", "geheim7")],
            {str(n): SECRET for n in range(401)},
            nested(11),
            {"a": [[[[[[[[[[1]]]]]]]]]]},
            {"a": SECRET * 20_000},
            {"a": "ü" * 50_001},
            {"a": [SECRET] * 4_001},
            {"a": {SECRET}},
            {"a": frozenset()},
            {"a": b"geheim7"},
            {"a": bytearray(b"geheim7")},
            {"a": object()},
            {"a": (n for n in range(3))},
            {"a": 1j},
            {"a": math.nan},
            {"a": [{"b": math.inf}]},
            {"a": Decimal("NaN")},
            {"a": Decimal("sNaN")},
            {"a": 2**64},
            {"a": timedelta(1)},
            {"a": "geheim7\udfff"},
            {"a\ud800": 1},
            {1: SECRET},
            {None: SECRET},
            {("a",): SECRET},
            {"a": {1: SECRET}},
            circle(),
        ],
    ),
    "location": (
        validation.location,
        [{"street": SECRET}, {"city": [SECRET]}, {"city": {"a": SECRET}}, {"latitude": True}, []],
    ),
    "names": (validation.names, ["geheim7", b"geheim7", None, 5, [], [""], [5], ["a"] * 401]),
}  # fmt: skip


def cases(table):
    return [
        pytest.param(check, value, id=f"{name}-{at}")
        for name, (check, values) in table.items()
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize(("check", "value"), cases(GOOD))
def test_a_value_within_the_rule_is_taken_and_fits_json(check, value):
    taken = check("thing", value)

    assert msgspec.json.decode(msgspec.json.encode(taken)) == taken


@pytest.mark.parametrize(("check", "value"), cases(BAD))
def test_a_value_against_the_rule_is_refused_by_field_and_rule_and_never_repeated(check, value):
    error = refusal(check, value)

    assert SECRET not in str(error).lower()
    assert error.args == (str(error),)
    assert len(str(error)) < 400


PATHS = {
    "an item of a list": ({"items": [{}, {}, {}, {"price": math.nan}]}, "thing.items[3].price"),
    "three objects deep": ({"a": {"b": {"c": {1}}}}, "thing.a.b.c"),
    "lists in lists": ({"a": [[1, [b""]]]}, "thing.a[0][1][0]"),
    "a name with a line break": ({"x\ny": math.nan}, "thing.x\\ny"),
    "a long name is cut": ({"k" * 500: math.nan}, "thing." + "k" * 40),
    "a key that is a number": ({"a": {1: 2}}, "thing.a"),
    "a key at the top": ({1: 2}, "thing"),
}


@pytest.mark.parametrize(("value", "path"), PATHS.values(), ids=PATHS)
def test_the_error_names_the_whole_path_of_a_nested_value(value, path):
    assert refusal(validation.properties, value).field == path


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (Decimal("23.99"), 23.99),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00+00:00"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ((1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_does_not_know_is_converted_as_documented(given, sent):
    assert validation.properties("thing", {"a": given}) == {"a": sent}


class Email(str):
    """A class of an application's, with a text of its own."""

    __slots__ = ()

    def __str__(self):
        return "an email"


class Plan(str, Enum):  # noqa: UP042 - as it was made before StrEnum
    FREE = "free"


class Size(IntEnum):
    LARGE = 3


class Price(Decimal):
    pass


class Day(date):
    pass


class Number(UUID):
    pass


NOON = pd.Timestamp("2026-01-31T12:00:00.123456789", tz="Europe/Berlin")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (Email("ada@lovelace.dev"), "ada@lovelace.dev"),
        (Plan.FREE, "free"),
        (SafeString("free"), "free"),
        (np.str_("free"), "free"),
        (Size.LARGE, 3),
        (np.float64(0.5), 0.5),
        (Price("0.5"), 0.5),
        (NOON, "2026-01-31T12:00:00.123456+01:00"),
        (Day(2026, 1, 31), "2026-01-31"),
        (Number(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_made_of_a_plain_value_is_sent_as_that(given, sent):
    taken = validation.properties("thing", {"a": given, "b": [given]})

    assert taken == {"a": sent, "b": [sent]}
    assert type(taken["a"]) is type(taken["b"][0]) is type(sent)


@pytest.mark.parametrize(
    ("check", "value", "sent"),
    [
        (validation.text, Email("x"), "x"),
        (validation.email, Email("ada@lovelace.dev"), "ada@lovelace.dev"),
        (validation.phone_number, Email("+15005550006"), "+15005550006"),
        (validation.currency, Email("USD"), "USD"),
        (validation.list_id, Email("Y6nRLr"), "Y6nRLr"),
        (validation.account, Plan.FREE, "free"),
        (validation.number, Size.LARGE, 3),
        (validation.number, np.float64(0.5), 0.5),
        (validation.seconds, np.float64(0.5), 0.5),
        (validation.time, Email("2026-01-31T12:00:00Z"), "2026-01-31T12:00:00Z"),
        (validation.time, NOON, "2026-01-31T11:00:00.123456Z"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_a_field_takes_what_is_made_of_a_plain_value(check, value, sent):
    taken = check("thing", value)

    assert taken == sent
    assert type(taken) is type(sent)


def test_names_may_be_made_of_strings():
    (name,) = validation.properties("thing", {Plan.FREE: 1})

    assert (type(name), name) == (str, "free")
    assert [type(one) for one in validation.names("thing", [Plan.FREE])] == [str]


@pytest.mark.parametrize(
    ("check", "value", "said"),
    [
        (validation.text, np.int64(1), "not numpy.int64"),
        (validation.text, NOON, "not pandas"),
        (validation.text, Number(int=7), "not tests.producer.test_validation.Number"),
        (validation.boolean, np.True_, "not numpy.bool"),
        (validation.number, Email("7"), "not tests.producer.test_validation.Email"),
        (validation.number, np.int64(1), "not numpy.int64"),
        (validation.properties, {"a": np.int64(1)}, "is a numpy.int64, which JSON cannot carry"),
        (validation.properties, {"a": pd.NaT}, "NaTType, which JSON cannot carry"),
        (validation.properties, {Size.LARGE: 1}, "Size; use strings"),
        (validation.properties, Email("a"), "must be a dict, not tests"),
        (validation.time, pd.NaT, "must be a datetime with a time zone"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_is_refused_is_told_by_the_whole_name_of_its_type(check, value, said):
    assert said in refusal(check, value).rule


def test_a_moment_is_sent_in_utc_to_the_microsecond():
    moment = datetime(2026, 1, 31, 12, 0, 0, 123456, timezone(timedelta(hours=2)))

    assert validation.time("time", moment) == "2026-01-31T10:00:00.123456Z"
    assert validation.time("time", "2026-01-31T12:00:00+02:00") == "2026-01-31T10:00:00Z"


def test_what_was_taken_no_longer_depends_on_the_callers_objects():
    items = [1, 2]
    given = {"items": items}

    taken = validation.properties("thing", given)
    items.append(3)
    given["more"] = 1

    assert taken == {"items": [1, 2]}


def test_a_body_larger_than_allowed_is_refused_with_both_sizes():
    validation.json_size("track", 10, 10)

    with pytest.raises(InvalidCommandError, match=r"track: .*10 bytes.* 11"):
        validation.json_size("track", 11, 10)


@pytest.mark.parametrize(("value", "kind"), [("23.99", "str"), (True, "bool"), (None, "NoneType")])
def test_what_is_no_number_is_told_by_its_type(value, kind):
    error = refusal(validation.number, value)
    assert error.rule.endswith(f", not {kind}")
    assert "23.99" not in str(error)


@pytest.mark.parametrize("value", [math.nan, math.inf, Decimal("sNaN"), 2**63])
def test_a_number_that_is_too_much_is_not_told_to_be_another_type(value):
    assert ", not " not in refusal(validation.number, value).rule
