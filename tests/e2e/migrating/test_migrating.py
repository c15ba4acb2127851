"""docs/migrating.md, executed: a row's old call and its new one do the same to an account.

The rows are read out of the document; each is run against the sandbox, through a real Redis and a
planner, once as "before" and once as "after", each time in a fresh account.
"""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import Struct, structs

from klaviyo_relay import InvalidCommandError, RelayError
from klaviyo_relay import errors as relay_errors
from klaviyo_relay.legacy import LegacyWarning
from klaviyo_relay_worker import errors
from klaviyo_relay_worker.errors import InvalidArgumentError, NotFoundError, RateLimitError
from klaviyo_relay_worker.klaviyo import Aggregate, Pages

DOCUMENT = Path(__file__).parents[3] / "docs" / "migrating.md"
NONE = "—"
REFUSALS = (InvalidCommandError, InvalidArgumentError, NotFoundError, AttributeError)

# Every method of the retired client, and every property that it knew.
METHODS = """
    Public.track Public.track_once Public.identify
    Profiles.update_profile Profiles.unset_profile_properties
    Lists.create_list Lists.update_list_name_by_id Lists.delete_list
    Lists.add_subscribers_to_list Lists.delete_subscribers_from_list
    Lists.add_members_to_list Lists.remove_members_from_list
    DataPrivacy.request_profile_deletion
    Profiles.get_profile Profiles.get_profile_id_by_email
    Profiles.get_profile_metrics_timeline Profiles.get_profile_metrics_timeline_by_id
    Metrics.get_metrics Metrics.get_metrics_timeline Metrics.get_metric_timeline_by_id
    Metrics.get_metric_export
    Lists.get_lists Lists.get_list_by_id Lists.get_subscribers_from_list
    Lists.get_members_from_list Lists.get_members_from_segment Lists.get_list_exclusions
    Lists.get_all_members
    Campaigns.get_campaigns Campaigns.get_campaign_recipients
""".split()  # noqa: SIM905 - in rows as they belong together
PROPERTIES = """
    $email email $phone_number phone_number $id id
    $first_name $last_name $organization $title $image
    $address1 $address2 $city $region $country $zip $latitude $longitude $timezone
    $locale $locale_country $anonymous $exchange_id _kx
    $consent sms_consent $consent_timestamp $source push_token $unset $append $unappend
    $event_id $value $value_currency $currency_code $extra __track_once__
""".split()  # noqa: SIM905 - the same
ARGUMENTS = ["customer_properties", "properties", "timestamp", "ip_address", "is_test"]


class Row(NamedTuple):
    """One row of a table."""

    line: int
    table: str
    before: str
    after: str
    meaning: str

    @property
    def is_refused(self) -> bool:
        """Whether the old call cannot be meant any more."""
        return "**refused**" in self.meaning

    @property
    def is_warned(self) -> bool:
        """Whether something of the old call is left out."""
        return "**warned**" in self.meaning


def code_of(cell: str) -> str:
    """The statements of a cell, one a line; there must be nothing but code in it."""
    rest = re.sub(r"`[^`]+`|<br>", "", cell).strip()
    code = "\n".join(re.findall(r"`([^`]+)`", cell)) or rest
    assert code, "a cell without code"
    assert rest in ("", NONE), f"more than code: {cell}"
    return code


def rows_of(document: str) -> list[Row]:
    """The rows of all tables, by the heading above each."""
    found, table, is_body = [], "", False
    for number, line in enumerate(document.splitlines(), 1):
        if line.startswith("## "):
            table = line.removeprefix("## ")
        if not line.startswith("|"):
            is_body = False
        elif line.startswith("|---"):
            is_body = True
        elif is_body:
            before, after, meaning = line.strip("|").split("|")
            found.append(Row(number, table, code_of(before), code_of(after), meaning.strip()))
    return found


old_form = pytest.mark.filterwarnings("ignore:.*retired SDK:DeprecationWarning")
TEXT = DOCUMENT.read_text()
ROWS = rows_of(TEXT)


def old_call(row: Row) -> str:
    """What stands in the cell, or the call that it is an argument of."""
    if row.before.startswith("{"):
        return f"client.Public.identify(email=email, properties={row.before})"
    if re.match(r"\w+=", row.before):
        return f'client.Public.track("Placed Order", email=email, {row.before})'
    return row.before


def run_before(account: Any, row: Row) -> Any:
    """The old call; it must say that it is old, and what it leaves out if the row says so."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = account.run(old_call(row))
    kinds = [one.category for one in caught]
    assert DeprecationWarning in kinds
    assert (LegacyWarning in kinds) == row.is_warned
    assert {one.filename for one in caught} == {"<row>"}
    return answer


# --- what answers tell ----------------------------------------------------------------------------

Facts = dict[str, Any]
RENAMED = {
    "list_id": "id", "list_name": "name", "statistic_id": "metric_id", "event_name": "metric",
    "$id": "external_id",
}  # fmt: skip


def told_before(answer: Any) -> list[Facts]:
    """What an old answer tells, in today's words; 3.x had it in `data`."""
    assert (answer.status_code, answer.data) == (200, answer)
    if "results" in answer:
        return [{one["segment"]: str(one["data"])} for one in answer["results"]]
    if isinstance(answer, dict):
        answer = answer.get("records", answer.get("data", [answer]))
    return [said_before(one) for one in answer]


def said_before(one: Facts) -> Facts:
    known = {name: value for name, value in one.items() if value not in (None, "")}
    known.pop("object", None)
    if "person" in known:
        known["profile_id"] = known.pop("person")["id"]
    if "reason" in known:
        known["profile_id"] = known.pop("id")
        assert known.pop("created") == known["timestamp"]
    return {RENAMED.get(name, name.removeprefix("$")): word(known[name]) for name in known}


def told_after(answer: Any) -> list[Facts]:
    """What an answer of today tells."""
    if isinstance(answer, str):
        return [{"id": answer}]
    if isinstance(answer, Aggregate):
        return [numbers_after(answer, row) for row in answer.rows]
    return [said_after(one) for one in (answer if isinstance(answer, Pages) else [answer])]


def numbers_after(answer: Aggregate, row: Any) -> Facts:
    [numbers] = row.measurements.values()
    dates = [date.strftime("%Y-%m-%d %H:%M:%S") for date in answer.dates]
    told = [{"date": at, "values": [n]} for at, n in zip(dates, numbers, strict=True)]
    return {row.dimensions[0] if row.dimensions else "$overall": str(told)}


def said_after(one: Struct) -> Facts:
    known = structs.asdict(one)
    if known.get("joined_group_at") is not None:
        known["created"] = known["joined_group_at"]
    for part in ("location", "properties"):
        known.update(known.pop(part, None) or {})
    return {name: word(value) for name, value in known.items()}


def word(value: Any) -> str:
    """One form for times, and for reasons."""
    text = {"UNSUBSCRIBE": "unsubscribed"}.get(str(value), str(value))
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(text)
    except ValueError:
        return text
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="seconds")


# --- the rows -------------------------------------------------------------------------------------


def ids(rows: list[Row]) -> list[str]:
    return [f"line {one.line}: {one.before[:50]}" for one in rows]


WRITES = [row for row in ROWS if row.after.startswith("klaviyo.")]
READS = [row for row in ROWS if re.search(r"^reader\.", row.after.splitlines()[-1])]
ERRORS = [row for row in ROWS if row.table == "Errors"]
REFUSED = [row for row in ROWS if row.after == NONE]


@pytest.mark.parametrize("row", WRITES, ids=ids(WRITES))
def test_a_write_does_the_same_before_and_after(account, row):
    old = account()
    untouched = old.effects()
    run_before(old, row)
    old.deliver()
    effects = old.effects()

    new = account()
    assert new.effects() == untouched
    new.run(row.after)
    new.deliver()

    assert new.effects() == effects
    assert row.is_warned or effects != untouched, "the row does nothing"


@pytest.mark.parametrize("row", READS, ids=ids(READS))
def test_a_read_tells_the_same_before_and_after(account, row):
    one = account()
    old, new = told_before(run_before(one, row)), told_after(one.run(row.after))

    assert old
    for before, after in zip(old, new, strict=True):
        assert before.items() <= after.items()


@pytest.mark.parametrize("row", REFUSED, ids=ids(REFUSED))
def test_what_is_refused_raises_and_stores_nothing(account, row):
    old = account()
    untouched = old.effects()

    assert row.is_refused
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(REFUSALS) as refused:
            old.run(old_call(row))
    is_unknown = refused.type is AttributeError
    assert [one.category for one in caught] == ([] if is_unknown else [DeprecationWarning])

    old.deliver()
    assert old.effects() == untouched


# What the old clients raised: by status (any other was an API exception), and where no answer came.
OLD_ERRORS = {
    "403": "KlaviyoAuthenticationError", "429": "KlaviyoRateLimitException",
    "500": "KlaviyoServerError", "503": "KlaviyoServerError", "no answer": "RequestException",
    "no key": "KlaviyoConfigurationException", "nobody": "KlaviyoException",
}  # fmt: skip


@old_form
@pytest.mark.parametrize("row", ERRORS, ids=ids(ERRORS))
def test_an_old_error_has_the_name_of_today_that_the_row_says(account, row):
    expected = getattr(errors, row.after, None) or getattr(relay_errors, row.after)
    signs = re.findall(r"\*\*(.+?)\*\*", row.meaning)

    assert signs
    for sign in signs:
        with pytest.raises(RelayError) as caught:
            fail(account(), sign)
        assert isinstance(caught.value, expected)
        assert row.after in (caught.type.__name__, "TransportError")
        assert OLD_ERRORS.get(sign, "KlaviyoAPIException") == row.before.splitlines()[0]
        if sign.isdecimal():
            assert caught.value.status == int(sign)
    assert not isinstance(caught.value, RateLimitError) or 7 <= caught.value.retry_after < 8


def fail(account: Any, sign: str) -> None:
    """Make a call fail in this way."""
    if sign == "nobody":
        account.run("client.Public.identify(properties={})")
    elif sign == "no key":
        account.run("type(client)().Lists.get_lists()")
    else:
        told = {"status": int(sign), "retry_after": 7} if sign.isdecimal() else {"action": "reset"}
        account.sandbox.set_faults([told])
        account.run("client.Profiles.get_profile(profile_id)")


# --- nothing is left out --------------------------------------------------------------------------


def test_every_row_is_executed():
    lines = [line for line in TEXT.splitlines() if line.startswith("|")]
    tables = sum(line.startswith("|---") for line in lines)

    assert tables == 3
    assert len(WRITES) + len(READS) + len(REFUSED) + len(ERRORS) == len(lines) - 2 * tables
    assert {row.is_refused for row in WRITES + READS} == {False}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_row(method):
    assert any(f"client.{method}(" in row.before for row in ROWS if row.table == "Methods")


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_property_has_a_row(name):
    assert any(f'"{name}"' in row.before for row in ROWS if row.table == "Properties")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_of_track_has_a_row(name):
    assert any(f"{name}=" in row.before for row in ROWS)


@pytest.mark.parametrize("cells", ["| | `klaviyo.flush()` | |", "| `client` or so | `x` | |"])
def test_a_row_without_code_or_with_prose_in_its_place_is_an_error(cells):
    with pytest.raises(AssertionError, match="code"):
        rows_of(f"## Methods\n\n| before | after |\n|---|---|\n{cells}")
