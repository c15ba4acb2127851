"""Reads of metrics, and their ids by name."""

from __future__ import annotations

import pytest

from klaviyo_relay_worker import limits
from klaviyo_relay_worker.errors import NotFoundError

ADA, BOB, CLO = "ada@shop.io", "bob@shop.io", "clo@shop.io"


def test_a_metric_is_found_by_its_name_and_all_are_read_for_it_once(reader, account):
    for name in ("Viewed", "Placed Order"):
        account.event(ADA, name)
    ids = {one.name: one.id for one in reader.metrics.all()}
    assert {name: reader.metrics.id_of(name) for name in ids} == ids
    assert account.requests_to(limits.GET_METRICS) == 2
    assert reader.metrics.get(ids["Viewed"]).name == "Viewed"


def test_a_metric_of_no_such_name_is_not_found(reader):
    for read in (reader.metrics.id_of, lambda name: reader.events.all(metric=name)):
        with pytest.raises(NotFoundError, match=r"^metric: Klaviyo has no metric") as caught:
            read("Gone")
        assert caught.value.status == 404


def test_a_metric_made_later_is_found_too(reader, account):
    account.event(ADA, "Viewed")
    assert reader.metrics.id_of("Viewed")
    account.event(ADA, "Bought")
    assert reader.metrics.id_of("Bought")
