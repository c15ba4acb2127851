"""Requests and answers as values."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker.klaviyo.exchange import Answer, Request


def test_the_method_is_that_of_the_endpoint():
    assert Request(endpoint="DELETE /api/lists/{id}", path="/api/lists/A").method == "DELETE"


@pytest.mark.parametrize(
    ("status", "accepted"), [(199, False), (200, True), (204, True), (299, True), (300, False)]
)
def test_any_2xx_is_accepted(status, accepted):
    assert Answer(status, {}, b"").is_accepted is accepted


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b'{"detail":"\xff"}', b"\x80\x81"],
    ids=["nothing", "html", "broken", "not utf-8 in a string", "not utf-8"],
)
def test_a_body_that_cannot_be_read_is_an_empty_document(body):
    assert Answer(400, {}, body).document() == {}


def test_a_body_is_read_as_json():
    assert Answer(200, {}, b'{"data":[1]}').document() == {"data": [1]}


def test_quotas_count_by_the_endpoint_or_by_a_limit_of_its_own():
    plain = Request(endpoint="GET /api/lists/{id}", path="/api/lists/A")
    counted = Request(endpoint=plain.endpoint, path=plain.path, limit="GET … with profile_count")
    assert (plain.quota_key, counted.quota_key) == (plain.endpoint, counted.limit)
    assert counted.method == "GET"
