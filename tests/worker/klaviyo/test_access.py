"""Access: what is waited out, for how long, and what is not."""

from __future__ import annotations

import msgspec
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from klaviyo_relay.errors import RedisUnavailableError
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.errors import (
    AnswerLostError,
    AuthenticationError,
    RateLimitError,
    RefusedError,
    ServerError,
)
from klaviyo_relay_worker.klaviyo.access import Access
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request

REQUEST = Request(endpoint=limits.GET_LISTS, path='/api/lists?filter=equals(name,["private"])')
FOUND = {"data": [], "links": {"next": None}}


def answer(status=200, document=None, **headers):
    body = msgspec.json.encode(FOUND if document is None else document)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body)


class Klaviyo:
    """Answers one after the other; an exception among them is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    def send(self, request):
        self.asked += 1
        given = self.answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    def close(self):
        pass


class Limiter:
    """Lets pass after some waits, and remembers what it is told."""

    def __init__(self, *waits):
        self.waits = list(waits)
        self.told = []

    def reserve(self, account, endpoint, *, is_bulk_lane=False):
        assert is_bulk_lane
        return self.waits.pop(0) if self.waits else 0.0

    def throttled(self, account, endpoint, seconds):
        self.told.append(("throttled", seconds))
        return 0.5

    def learn(self, account, endpoint, headers):
        self.told.append(("learned", dict(headers)))


class Asked:
    """An access, with the seconds that it slept."""

    def __init__(self, klaviyo, limiter=None, patience=60.0):
        self.slept = []
        self.klaviyo = klaviyo
        self.limiter = limiter or Limiter()
        self.access = Access(
            klaviyo,
            self.limiter,
            "default",
            patience=patience,
            sleep=self.slept.append,
            chance=lambda: 0.5,
        )

    def ask(self):
        return self.access.ask(REQUEST)


def test_the_document_is_given_and_the_limits_in_it_are_learned():
    asked = Asked(Klaviyo(answer(ratelimit_limit="75, 75;w=1, 750;w=60")))
    assert asked.ask() == FOUND
    assert asked.limiter.told == [("learned", {"ratelimit-limit": "75, 75;w=1, 750;w=60"})]
    assert asked.slept == []


def test_a_used_up_rate_limit_is_waited_out_without_asking_klaviyo():
    asked = Asked(Klaviyo(answer()), Limiter(0.25, 12.0))
    assert asked.ask() == FOUND
    assert asked.slept == [0.25, 12.0]
    assert asked.klaviyo.asked == 1


def test_a_429_is_waited_out_as_long_as_klaviyo_says():
    asked = Asked(Klaviyo(answer(429, {}, retry_after="7"), answer()))
    assert asked.ask() == FOUND
    [slept] = asked.slept
    assert 7.0 <= slept < 7.5
    assert asked.limiter.told[0] == ("throttled", slept)


def test_a_429_that_does_not_say_how_long_is_waited_out_longer_each_time():
    asked = Asked(Klaviyo(*(answer(429, {}) for _ in range(4)), answer()))
    assert asked.ask() == FOUND
    assert asked.slept == sorted(asked.slept)
    assert asked.slept[-1] > 4 * asked.slept[0]


def test_outages_are_waited_out_with_a_backoff_that_grows():
    outages = [answer(503, {}), AnswerLostError("lost"), answer(500, {}), answer(502, {})]
    asked = Asked(Klaviyo(*outages, answer()))
    assert asked.ask() == FOUND
    assert asked.slept == [0.25, 0.5, 1.0, 2.0]


def test_patience_ends_with_the_error_that_it_waited_for():
    asked = Asked(Klaviyo(answer(429, {}, retry_after="30")), patience=20.0)
    with pytest.raises(RateLimitError) as caught:
        asked.ask()
    assert caught.value.retry_after >= 30
    assert asked.slept == []


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 413, 415, 422])
def test_what_waiting_does_not_mend_is_not_waited_for(status):
    errors = [
        {"code": "invalid", "detail": "private", "source": {"pointer": "/data/x"}},
        {"code": "other", "detail": "private", "source": {"parameter": "filter"}},
    ]
    asked = Asked(Klaviyo(answer(status, {"errors": errors})))
    with pytest.raises(RefusedError) as caught:
        asked.ask()
    assert caught.value.status == status
    assert [one.pointer for one in caught.value.failures] == ["/data/x", "filter"]
    told = str(caught.value)
    assert "/data/x, filter" in told
    assert "private" not in told
    assert asked.slept == []


@pytest.mark.parametrize(("status", "told"), [(401, "API key"), (403, "scope")])
def test_a_key_that_is_refused_is_told_from_a_scope_that_is_missing(status, told):
    asked = Asked(Klaviyo(answer(status, {})))
    with pytest.raises(AuthenticationError, match=told) as caught:
        asked.ask()
    assert caught.value.status == status
    assert asked.slept == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"errors":[]}', b"", b'{"data"', b"\xff"])
def test_a_200_without_a_document_is_a_servers_fault_and_tried_again(body):
    asked = Asked(Klaviyo(Answer(200, {}, body), answer()))
    assert asked.ask() == FOUND
    assert len(asked.slept) == 1


def test_a_redirection_is_a_servers_fault():
    asked = Asked(Klaviyo(Answer(302, {}, b"")), patience=0.0)
    with pytest.raises(ServerError) as caught:
        asked.ask()
    assert caught.value.status == 302


def test_a_redis_that_is_away_is_no_fault_of_klaviyos():
    class Away(Limiter):
        def reserve(self, account, endpoint, *, is_bulk_lane=False):
            raise RedisConnectionError("refused")

    asked = Asked(Klaviyo(), Away())
    with pytest.raises(RedisUnavailableError, match="rate limit"):
        asked.ask()
    assert asked.klaviyo.asked == 0
