"""The courier: what Klaviyo has answered counts, whatever else fails meanwhile."""

from __future__ import annotations

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from klaviyo_relay import Identify
from klaviyo_relay_worker import judge, limits
from klaviyo_relay_worker.klaviyo.exchange import Answer

IMPORT = limits.BULK_IMPORT_PROFILES


def redis_fails(*_given, **_more):
    raise RedisConnectionError("Redis is away for a moment")


@pytest.mark.parametrize("teaching", ["succeeded", "learn"])
def test_an_answer_counts_though_redis_is_away_for_what_it_teaches(
    house, sandbox, monkeypatch, teaching
):
    accounts = house.planner.accounts
    with monkeypatch.context() as away:
        teacher = accounts.breakers if teaching == "succeeded" else accounts.quota
        away.setattr(teacher, teaching, redis_fails)
        house.enqueue(*(Identify(email=f"p{n}@shop.io", append={"tags": "x"}) for n in range(20)))
        house.turn()
    house.work_off()
    assert house.requests_to(IMPORT) == 1, "an import that Klaviyo took was sent again"
    assert {str(one["properties"]["tags"]) for one in sandbox.profiles()} == {"['x']"}


def test_an_import_that_klaviyo_took_is_watched_for_if_its_answer_made_no_sense(
    house, sandbox, monkeypatch
):
    def no_document(_answer):
        return {}

    with monkeypatch.context() as senseless:
        senseless.setattr(Answer, "document", no_document)
        house.enqueue(*(Identify(email=f"p{n}@shop.io") for n in range(20)))
        house.turn()
    assert len(house.lane_state("profiles").imports) == 1


def test_an_import_that_fails_within_a_line_up_is_watched_for(house, sandbox, monkeypatch, until):
    monkeypatch.setattr(judge, "backoff", lambda *_: 0.01)
    sandbox.set_faults([{"endpoint": IMPORT, "status": 504}])
    house.enqueue(*(Identify(email=f"p{n}@shop.io") for n in range(20)))
    before = 0

    def is_lined_up():
        nonlocal before
        before = house.requests_to(IMPORT)
        house.turn()
        return house.requests_to(limits.IMPORT_PROFILE)

    until(is_lined_up)
    failed = house.requests_to(IMPORT) - before
    assert failed > 0
    assert len(house.lane_state("profiles").imports) == failed
