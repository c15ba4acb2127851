"""Every request that the plan builds is one that Klaviyo's own SDK and OpenAPI document know.

The SDK drops silently what it does not model, so a request that comes back from its models with all
it had is one that they know in full. It models no query; there the OpenAPI document decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema
import msgspec
import pytest

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
from klaviyo_relay_worker.klaviyo import limits
from klaviyo_relay_worker.plan import consent, events, imports, lists, privacy, profiles, strays
from klaviyo_relay_worker.plan.batch import Situation

DOCUMENT = Path(__file__).parents[3] / "shared" / "klaviyo" / "openapi-subset.json"
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
    assert sent | looked == set(limits.RATE_LIMITS)


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
def document() -> Any:
    if not DOCUMENT.exists():
        pytest.skip(f"Klaviyo's OpenAPI document is not at {DOCUMENT}")
    return json.loads(DOCUMENT.read_text())


@cache
def operations() -> dict[str, Any]:
    """Operations by endpoint, variable parts of the path as {id}."""
    found = {}
    for path, by_method in document()["paths"].items():
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
        target: Any = document()
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
    batch = imports.look_at(imports.Job("01J", [[talk.entry(Identify(email="ada@lovelace.dev"))]]))
    _, looks = talk.converse(batch, Obliging(talk, has_list=True))
    assert [one.endpoint for one in looks] == [limits.GET_IMPORT_JOB, limits.GET_IMPORT_ERRORS]
    for one in [*looks, strays.jobs_request()]:
        check_query(one)


def check_query(request: Any) -> None:
    operation = operations()[request.endpoint]
    known = {strict(one)["name"]: strict(one) for one in operation.get("parameters", ())}
    query = (
        parse_qs(urlsplit(request.path).query, strict_parsing=True) if "?" in request.path else {}
    )
    assert set(query) <= set(known)
    for size in query.get("page[size]", ()):
        assert int(size) <= known["page[size]"]["schema"].get("maximum", int(size))
    for text in query.get("filter", ()):
        operator, _, rest = text.partition("(")
        field = rest.partition(",")[0]
        allowed = operation["x-klaviyo-filters"][field]["operators"]
        value = msgspec.json.decode(rest.partition(",")[2].removesuffix(")"))
        assert operator in allowed["list" if isinstance(value, list) else "single"]
