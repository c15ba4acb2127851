"""Every request that the plan builds is one that Klaviyo's own SDK and OpenAPI document know.

The SDK drops silently what it does not model, so a request that comes back from its models with all
it had is one that they know in full. It models no query; there the OpenAPI document decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import cache
from importlib import import_module
from inspect import getsource
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import msgspec
import pytest
from openapi_client.models import MetricAggregateQuery

import openapi
from klaviyo_relay import (
    AddToList,
    CreateList,
    DeleteList,
    DeleteProfile,
    Identify,
    RemoveFromList,
    RenameList,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
    Unsuppress,
)
from klaviyo_relay.commands import KINDS
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo import Pages, Reader
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.plan import consent, events, imports, lists, privacy, profiles, strays
from klaviyo_relay_worker.plan.batch import Situation

PHONE = "+15005550006"
EVERYONE = {"email": "ada@lovelace.dev", "phone_number": PHONE, "external_id": "e-1"}
LOCATION = {
    "address1": "1 Way", "address2": "x", "city": "Bonn", "country": "DE", "latitude": 50.7,
    "longitude": "7.1", "region": "NW", "zip": "53111", "timezone": "Europe/Berlin", "ip": "::1",
}  # fmt: skip
DEEP = {"text": "é", "number": 1.5, "whole": 3, "yes": True, "null": None, "list": [1, {"a": "b"}]}
EVERYTHING = Identify(
    **EVERYONE, profile_id="01A", first_name="Ada", last_name="King", organization="O",
    locale="en-GB", title="Dr", image="https://x.io/a.png", location=LOCATION,
    properties={name: value for name, value in DEEP.items() if value is not None},
    unset=["gone"], append={"tags": ["a", "b"], "more": "c"}, unappend={"old": "d"},
)  # fmt: skip
COMMANDS = {
    "track, the least": Track(metric="Placed Order", email="ada@lovelace.dev"),
    "track, everything": Track(
        metric="Placed Order", **EVERYONE, profile_id="01A", anonymous_id="anon", properties=DEEP,
        value=9.5, value_currency="USD", time="2026-01-02T03:04:05.678Z", unique_id="u",
        backfill=True,
    ),
    "identify, the least": Identify(external_id="e-1"),
    "identify, everything": EVERYTHING,
    "identify, clearing": Identify(email="ada@lovelace.dev", unset=["last_name", "location", "x"]),
    "add to a list": AddToList(list_id="AAAAAA", **EVERYONE),
    "add to a named list": AddToList(list_name='The "best" & more', email="ada@lovelace.dev"),
    "remove from a list": RemoveFromList(list_id="AAAAAA", **EVERYONE),
    "create a list": CreateList(list_name="News", opt_in_process="double_opt_in"),
    "create a list, the least": CreateList(list_name="News"),
    "rename a list": RenameList(list_name="News", new_name="Weekly"),
    "delete a list": DeleteList(list_id="AAAAAA"),
    "subscribe": Subscribe(list_id="AAAAAA", email="ada@lovelace.dev", phone_number=PHONE),
    "subscribe, historical": Subscribe(
        email="ada@lovelace.dev", consented_at="2020-01-02T03:04:05Z", source="shop"
    ),
    "unsubscribe from a list": Unsubscribe(list_id="AAAAAA", email="ada@lovelace.dev"),
    "unsubscribe": Unsubscribe(email="ada@lovelace.dev", phone_number=PHONE),
    "suppress": Suppress(email="ada@lovelace.dev"),
    "unsuppress": Unsuppress(email="ada@lovelace.dev"),
    "delete a profile": DeleteProfile(email="ada@lovelace.dev"),
    "delete a profile by id": DeleteProfile(profile_id="01A"),
}  # fmt: skip
CHOOSERS = {
    "events": events.choose, "profiles": profiles.choose, "lists": lists.choose,
    "consent": consent.choose, "privacy": privacy.choose,
}  # fmt: skip
MODELS = {
    limits.CREATE_EVENT: "EventCreateQueryV2",
    limits.BULK_CREATE_EVENTS: "EventsBulkCreateJob",
    limits.IMPORT_PROFILE: "ProfileUpsertQuery",
    limits.BULK_IMPORT_PROFILES: "ProfileImportJobCreateQuery",
    limits.CREATE_LIST: "ListCreateQuery",
    limits.UPDATE_LIST: "ListPartialUpdateQuery",
    limits.REMOVE_LIST_PROFILES: "ListMembersDeleteQuery",
    limits.BULK_SUBSCRIBE: "SubscriptionCreateJobCreateQuery",
    limits.BULK_UNSUBSCRIBE: "SubscriptionDeleteJobCreateQuery",
    limits.BULK_SUPPRESS: "SuppressionCreateJobCreateQuery",
    limits.BULK_UNSUPPRESS: "SuppressionDeleteJobCreateQuery",
    limits.DELETE_PROFILE: "DataPrivacyCreateDeletionJobQuery",
}


class Obliging:
    """A Klaviyo that says to each request what leads to the next."""

    def __init__(self, talk, *, has_list):
        self.talk, self.has_list = talk, has_list

    def __call__(self, request):
        answer = self.talk.answer
        if request.endpoint == limits.GET_LISTS:
            return answer(200, {"data": [{"type": "list", "id": "AAAAAA"}] * self.has_list})
        if request.endpoint in (limits.GET_LIST_PROFILE_IDS, limits.GET_PROFILES):
            return answer(200, {"data": [{"type": "profile", "id": "01A"}]})
        if request.endpoint == limits.GET_LIST_PROFILES:
            attributes = {"email": "ada@lovelace.dev"}
            return answer(200, {"data": [{"type": "profile", "attributes": attributes}]})
        if request.endpoint == limits.GET_IMPORT_JOB:
            attributes = {"status": "complete", "failed_count": 1}
            return answer(200, {"data": {"id": "01J", "attributes": attributes}})
        if request.endpoint == limits.GET_IMPORT_ERRORS:
            return answer(200, {"data": []})
        return answer(202, {"data": {"id": "01J"}})


def requests_of(talk, name, *, is_idle):
    command = COMMANDS[name]
    entry = talk.entry(command)
    choose = CHOOSERS[command.lane]
    batches = choose([entry], Situation(now=talk.now, is_idle=is_idle))
    klaviyo = Obliging(talk, has_list=not isinstance(command, CreateList))
    return [one for batch in batches for one in talk.converse(batch, klaviyo)[1]]


# These wait until nothing of their lane is in flight.
ALONE = (CreateList, RenameList, DeleteList, DeleteProfile)
CASES = [(name, True) for name in COMMANDS]
CASES += [(name, False) for name, command in COMMANDS.items() if not isinstance(command, ALONE)]


@pytest.fixture(params=CASES, ids=lambda one: f"{one[0]}{'' if one[1] else ', in a backlog'}")
def requests(request, talk):
    name, is_idle = request.param
    found = requests_of(talk, name, is_idle=is_idle)
    assert found
    return found


def test_every_kind_of_command_and_every_body_is_looked_at(talk):
    assert {type(command) for command in COMMANDS.values()} == set(KINDS)
    sent = {
        one.endpoint
        for name in COMMANDS
        for is_idle in (True, False)
        for one in requests_of(talk, name, is_idle=is_idle)
    }
    assert set(MODELS) <= sent
    looked = {limits.GET_IMPORT_JOBS, limits.GET_IMPORT_JOB, limits.GET_IMPORT_ERRORS}
    read = {one.quota_key for name in READS for one in reads_of(name)}
    assert sent | looked | read == set(limits.RATE_LIMITS)


def test_the_path_is_one_of_the_endpoint(requests):
    for one in requests:
        template = one.endpoint.partition(" ")[2].split("/")
        path = urlsplit(one.path).path.split("/")
        pairs = list(zip(template, path, strict=True))
        assert all(want == part or (want == "{id}" and part) for want, part in pairs)


def test_the_sdk_keeps_every_attribute(requests):
    for one in requests:
        assert (one.body is not None) == (one.endpoint in MODELS)
        if one.body is not None:
            name = MODELS[one.endpoint]
            body = msgspec.json.decode(one.body)
            kept = getattr(import_module("openapi_client.models"), name).from_dict(body).to_dict()
            assert lost(body, kept) == []


def lost(given: Any, kept: Any, place: str = "") -> list[str]:
    """Where `kept` has not what was given; more it may have."""
    if isinstance(given, Mapping) and isinstance(kept, Mapping):
        return [
            fault
            for name, value in given.items()
            for fault in (
                lost(value, kept[name], f"{place}/{name}") if name in kept else [f"{place}/{name}"]
            )
        ]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = enumerate(zip(given, kept, strict=True))
        return [fault for at, (a, b) in pairs for fault in lost(a, b, f"{place}/{at}")]
    if isinstance(kept, (date, datetime)):
        given = datetime.fromisoformat(given)
    return [] if given == kept else [f"{place}: {given!r} became {kept!r}"]


def test_a_lost_attribute_would_be_seen():
    assert lost({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}) == []
    assert lost({"a": {"b": 1, "x": 2}}, {"a": {"b": 1}}) == ["/a/x"]
    assert lost({"a": [1]}, {"a": [2]}) == ["/a/0: 1 became 2"]


@cache
def operations() -> dict[str, Any]:
    """Operations by endpoint, variable parts of the path as {id}."""
    found = {}
    for path, by_method in openapi.document()["paths"].items():
        template = path.replace("{job_id}", "{id}")
        for method, operation in by_method.items():
            found[f"{method.upper()} {template}"] = operation
    return found


def strict(schema: Any) -> Any:
    """OpenAPI 3.0 as JSON schema: null where it is nullable, and nothing that it does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target: Any = openapi.document()
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return strict(target)
    made = {name: strict(value) for name, value in schema.items() if name != "nullable"}
    if isinstance(made.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    if not schema.get("nullable"):
        return made
    if "enum" in made:
        made["enum"] = [*made["enum"], None]
    return {"anyOf": [made, {"type": "null"}]}


@cache
def validator(endpoint: str) -> Any:
    content = operations()[endpoint]["requestBody"]["content"]["application/vnd.api+json"]
    return jsonschema.Draft202012Validator(strict(content["schema"]))


def test_the_openapi_document_allows_every_body(requests):
    for one in requests:
        if one.body is not None:
            validator(one.endpoint).validate(msgspec.json.decode(one.body))


def test_a_body_with_an_unknown_attribute_would_be_seen():
    body = {"data": {"type": "list", "attributes": {"name": "N", "bogus": 1}}}
    with pytest.raises(jsonschema.ValidationError, match="bogus"):
        validator(limits.CREATE_LIST).validate(body)


def test_the_openapi_document_allows_every_query(requests):
    for one in requests:
        check_query(one)


def test_the_openapi_document_allows_the_queries_of_import_jobs(talk):
    job = imports.Job("01J", [[talk.entry(Identify(email="ada@lovelace.dev"))]])
    batch = imports.look_at(job, {})
    _, looks = talk.converse(batch, Obliging(talk, has_list=True))
    assert [one.endpoint for one in looks] == [limits.GET_IMPORT_JOB, limits.GET_IMPORT_ERRORS]
    for one in [*looks, strays.jobs_request()]:
        check_query(one)


def check_query(request: Any, endpoint: str | None = None) -> None:
    operation = operations()[endpoint or request.endpoint]
    known = {strict(one)["name"]: strict(one) for one in operation.get("parameters", ())}
    query = (
        parse_qs(urlsplit(request.path).query, strict_parsing=True) if "?" in request.path else {}
    )
    assert set(query) <= set(known)
    for size in query.get("page[size]", ()):
        assert int(size) <= known["page[size]"]["schema"].get("maximum", int(size))
    for name, (text, *more) in query.items():
        assert not more, f"{name} is given twice"
        allowed = set(known[name]["schema"].get("items", known[name]["schema"]).get("enum", ()))
        assert not allowed or set(text.split(",")) <= allowed
    for text in query.get("filter", ()):
        for operator, field, value in conditions(text):
            forms = operation["x-klaviyo-filters"][field]["operators"]
            assert operator in forms["list" if isinstance(value, list) else "single"]


def conditions(text: str) -> list[tuple[str, str, Any]]:
    """The conditions of a filter: operator, field, value."""
    found = []
    while text:
        operator, field, rest = re.fullmatch(r"([a-z-]+)\(([^,]+),(.*)", text, re.DOTALL).groups()
        if rest[0] in '"[':
            value, end = json.JSONDecoder().raw_decode(rest)
        else:  # a time
            end = rest.index(")")
            value = datetime.fromisoformat(rest[:end])
        assert rest[end] == ")"
        text = rest[end + 1 :].removeprefix(",")
        found.append((operator, field, value))
    return found


# --- reads: every method of every group, with everything that it takes ----------------------------

EMAILS, PHONES, TOKENS = ["ada@lovelace.dev", "o'b+1@shop.io"], [PHONE], ["t/1", 't"2']
YEAR = {"start": "2026-01-01", "end": datetime(2026, 2, 1, tzinfo=UTC)}
READS: dict[str, Callable[[Reader], Any]] = {
    "a profile": lambda reader: reader.profiles.get("01A"),
    "the id of a profile": lambda reader: [
        reader.profiles.id_of(email=EMAILS[0]),
        reader.profiles.id_of(phone_number=PHONE),
        reader.profiles.id_of(external_id="e,1"),
    ],
    "profiles": lambda reader: reader.profiles.all(
        created_since="2026-01-01", updated_since="2026-01-02T03:04:05.678Z", cursor="c", count=7
    ),
    "named profiles": lambda reader: reader.profiles.all(
        emails=EMAILS, phone_numbers=PHONES, external_ids=["e"]
    ),
    "suppressed": lambda reader: reader.profiles.suppressed(cursor="c"),
    "suppressed for a reason": lambda reader: reader.profiles.suppressed(
        reason="HARD_BOUNCE", since="2026-01-01"
    ),
    "lists of a profile": lambda reader: reader.profiles.lists("01A"),
    "events": lambda reader: reader.events.all(),
    "some events": lambda reader: reader.events.all(
        profile_id="01A", metric_id="ABCDEF", since="2026-01-01", until="2026-02-01", sort="asc",
        count=5, cursor="c",
    ),
    "metrics": lambda reader: reader.metrics.all(),
    "a metric": lambda reader: reader.metrics.get("ABCDEF"),
    "numbers": lambda reader: reader.metrics.aggregate(metric_id="ABCDEF", **YEAR),
    "numbers in groups": lambda reader: reader.metrics.aggregate(
        metric_id="ABCDEF", **YEAR, measurements=("count", "unique", "sum_value"), interval="month",
        by=("$flow", "Campaign Name"), where={"URL": "https://x.io", "List": ["a", "b"]}, count=9,
        timezone="Europe/Berlin",
    ),
    "lists": lambda reader: reader.lists.all(),
    "a list": lambda reader: [
        reader.lists.get("ABCDEF"), reader.lists.get("ABCDEF", with_count=True)
    ],
    "a list by name": lambda reader: reader.lists.id_of('The "best" & more'),
    "members": lambda reader: reader.lists.members("ABCDEF", since="2026-01-01", cursor="c"),
    "named members": lambda reader: reader.lists.members(
        "ABCDEF", emails=EMAILS, phone_numbers=PHONES, push_tokens=TOKENS
    ),
    "subscribers": lambda reader: reader.lists.subscribers("ABCDEF", emails=EMAILS, channel="sms"),
    "exclusions": lambda reader: reader.lists.exclusions("ABCDEF"),
    "exclusions for a reason": lambda reader: reader.lists.exclusions(
        "ABCDEF", reason="UNSUBSCRIBE", since="2026-01-01", cursor="c"
    ),
    "segments": lambda reader: reader.segments.all(),
    "a segment": lambda reader: [
        reader.segments.get("ABCDEF"), reader.segments.get("ABCDEF", with_count=True)
    ],
    "a segment by name": lambda reader: reader.segments.id_of("VIP"),
    "members of a segment": lambda reader: reader.segments.members(
        "ABCDEF", emails=EMAILS, phone_numbers=PHONES, push_tokens=TOKENS, since="2026-01-01"
    ),
}  # fmt: skip
# Not in the part of the document that we have; the SDK knows them (tests/contract).
UNDOCUMENTED = {limits.GET_SEGMENTS, limits.GET_SEGMENT, limits.GET_SEGMENT_AND_COUNT}


class Pupil:
    """Access to a Klaviyo that knows one of each, and writes down what it is asked."""

    def __init__(self):
        self.requests = []

    def ask(self, request):
        self.requests.append(request)
        if request.endpoint == limits.QUERY_METRIC_AGGREGATES:
            return {"data": {"attributes": {"dates": [], "data": []}}}
        template = request.endpoint.partition(" ")[2]
        is_one = "{id}" in template.rsplit("/", 1)[-1]
        one = {"type": "?", "id": "ABCDEF", "attributes": {}}
        return {"data": one if is_one else [one]}


def reads_of(name):
    pupil = Pupil()
    found = READS[name](Reader(pupil))
    if isinstance(found, Pages):
        list(found)
    return pupil.requests


def test_every_method_that_reads_is_looked_at():
    called = "".join(getsource(read) for read in READS.values())
    for group in ("profiles", "events", "metrics", "lists", "segments"):
        for name in dir(type(getattr(Reader(Pupil()), group))):
            if name.islower() and not name.startswith("_") and name != "id_given":
                assert f"reader.{group}.{name}(" in called or (group, name) == ("metrics", "id_of")


@pytest.mark.parametrize("name", READS)
def test_the_openapi_document_allows_every_read(name):
    requests = reads_of(name)
    assert requests
    for one in requests:
        assert limits.RATE_LIMITS[one.quota_key]
        endpoint = one.endpoint
        if one.quota_key in UNDOCUMENTED:
            continue
        check_query(one, endpoint)
        if one.body is not None:
            validator(endpoint).validate(msgspec.json.decode(one.body))
            body = msgspec.json.decode(one.body)
            kept = MetricAggregateQuery.from_dict(body).to_dict()
            assert lost(body, kept) == []


def test_a_filter_that_the_document_does_not_allow_would_be_seen():
    request = Request(endpoint=limits.GET_LISTS, path='/api/lists?filter=equals(name,"x")')
    with pytest.raises((AssertionError, KeyError)):
        check_query(request, limits.GET_LISTS)
