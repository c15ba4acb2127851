"""The rate limits are Klaviyo's own, as its OpenAPI document says."""

from __future__ import annotations

import pytest

import openapi
from klaviyo_relay_worker import limits


def published():
    paths = openapi.document()["paths"]
    return {
        (
            method.upper(),
            "{}".join(part.partition("{")[0] for part in path.split("}")).rstrip("/"),
        ): one
        for path, operations in paths.items()
        for method, one in operations.items()
        if isinstance(one, dict)
    }


def number(text):
    return int(text.partition("/")[0])


# The document that we have leaves these out; the docstrings of klaviyo-api 24.0.0 (get_segments,
# get_segment, get_list) name 75/s and 750/m, and with profile_count 1/s and 15/m.
NOT_IN_THE_DOCUMENT = {
    limits.GET_SEGMENTS: limits.L,
    limits.GET_SEGMENT: limits.L,
    limits.GET_SEGMENT_AND_COUNT: limits.XS,
    limits.GET_LIST_AND_COUNT: limits.XS,
}


@pytest.mark.parametrize("endpoint", sorted(limits.RATE_LIMITS.keys() - NOT_IN_THE_DOCUMENT.keys()))
def test_limits_are_those_of_the_openapi_document(endpoint):
    method, _, path = endpoint.partition(" ")
    operation = published()[method, path.replace("{id}", "{}")]
    told = operation["x-klaviyo-ratelimit"]
    ours = limits.RATE_LIMITS[endpoint]
    assert (ours.second, ours.minute) == (number(told["burst"]), number(told["steady"]))
    assert ours.day == number(told.get("daily", "0/d"))


@pytest.mark.parametrize("endpoint", NOT_IN_THE_DOCUMENT)
def test_limits_that_only_the_sdk_names(endpoint):
    assert limits.RATE_LIMITS[endpoint] == NOT_IN_THE_DOCUMENT[endpoint]
