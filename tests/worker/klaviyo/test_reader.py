"""The reader against the sandbox: its faults, and the rate limit that it shares with deliveries."""

from __future__ import annotations

import math

import pytest

from klaviyo_relay.errors import ConfigurationError, RedisUnavailableError
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.errors import (
    AnswerLostError,
    AuthenticationError,
    InvalidArgumentError,
    KlaviyoError,
    NotFoundError,
    NotSentError,
    RateLimitError,
    RefusedError,
    ServerError,
)
from klaviyo_relay_worker.klaviyo import Reader
from klaviyo_relay_worker.klaviyo.access import Access
from klaviyo_relay_worker.quota import Quota
from klaviyo_relay_worker.settings import WorkerSettings

ADA, BOB, CLO = "ada@shop.io", "bob@shop.io", "clo@shop.io"


def test_an_outage_and_a_lost_answer_are_waited_out(reader, sandbox, account):
    list_id = sandbox.create_list("News")
    sandbox.set_faults([{"status": 503, "times": 2}, {"action": "reset", "times": 1}])
    assert reader.lists.get(list_id).name == "News"
    assert account.requests_to(limits.GET_LIST) == 4


def impatient(sandbox, redis_url, patience=0.0, **changes):
    given = {"redis_url": redis_url, "api_url": sandbox.url, "api_keys": {"default": "pk_test"}}
    return Reader.from_settings(WorkerSettings(**{**given, **changes}), patience=patience)


FAULTS = {
    "401": ({"status": 401}, AuthenticationError, 401),
    "403": ({"status": 403}, AuthenticationError, 403),
    "400": ({"status": 400}, RefusedError, 400),
    "404": ({"status": 404}, NotFoundError, 404),
    "410": ({"status": 410}, RefusedError, 410),
    "429": ({"status": 429, "retry_after": 30}, RateLimitError, 429),
    "500": ({"status": 500}, ServerError, 500),
    "503": ({"status": 503}, ServerError, 503),
    "reset": ({"action": "reset"}, AnswerLostError, 0),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_an_error_of_its_own(sandbox, redis_url, name):
    fault, error, status = FAULTS[name]
    sandbox.set_faults([fault])
    with impatient(sandbox, redis_url) as reader, pytest.raises(error) as caught:
        reader.lists.get("ABCDEF")
    assert caught.value.status == status
    assert isinstance(caught.value, KlaviyoError)
    if name == "429":
        assert 30 <= caught.value.retry_after < 40


def test_a_klaviyo_that_cannot_be_reached_is_an_error_of_its_own(sandbox, redis_url):
    with (
        impatient(sandbox, redis_url, api_url="http://127.0.0.1:1") as reader,
        pytest.raises(NotSentError),
    ):
        reader.lists.get("ABCDEF")


def test_a_refusal_carries_klaviyos_words_and_keeps_them_out_of_its_message(sandbox, redis_url):
    with impatient(sandbox, redis_url) as reader, pytest.raises(RefusedError) as caught:
        reader.profiles.all(cursor="no such cursor").pages().__next__()
    [failure] = caught.value.failures
    assert (failure.status, failure.pointer) == (400, "page[cursor]")
    assert failure.detail
    assert failure.detail not in str(caught.value)


def test_without_a_key_the_variable_is_named(sandbox, redis_url):
    environ = {"KLAVIYO_API_KEY": "pk_test"}
    with pytest.raises(ConfigurationError, match="KLAVIYO_API_KEY_SHOP"):
        Reader.from_env("shop", environ=environ)


@pytest.mark.parametrize("account", ["Shop!", "", None, 5])
def test_an_account_that_there_cannot_be_is_refused_before_its_key_is_looked_for(account):
    with pytest.raises(InvalidArgumentError, match=r"^account: must be 1-32 lower-case"):
        Reader.from_env(account, environ={"KLAVIYO_API_KEY": "pk_test"})


@pytest.mark.parametrize("patience", [-1, math.nan, "60", None, True])
def test_a_patience_that_is_no_time_is_refused(patience):
    with pytest.raises(InvalidArgumentError, match=r"^patience: must be a finite number"):
        Reader.from_env(patience=patience, environ={"KLAVIYO_API_KEY": "pk_test"})


def test_reads_and_deliveries_share_one_rate_limit(sandbox, redis, redis_url, keys):
    quota = Quota(redis, keys)
    while quota.reserve("default", limits.GET_LIST) == 0:
        pass
    with impatient(sandbox, redis_url) as reader, pytest.raises(RateLimitError) as caught:
        reader.lists.get("ABCDEF")
    assert caught.value.status == 0
    assert 0 < caught.value.retry_after <= 61
    assert sandbox.summary()["requests"] == {}


def test_reads_leave_something_for_live_deliveries(sandbox, redis, redis_url, keys):
    list_id = sandbox.create_list("News")
    quota = Quota(redis, keys)
    with impatient(sandbox, redis_url) as reader:
        most = limits.RATE_LIMITS[limits.GET_LIST].second
        with pytest.raises(RateLimitError):
            [reader.lists.get(list_id) for _ in range(most + 1)]
    assert quota.reserve("default", limits.GET_LIST) == 0


def test_a_429_is_told_to_all_who_share_the_limit(sandbox, redis, redis_url, keys):
    sandbox.set_faults([{"status": 429, "retry_after": 30, "times": 1}])
    with impatient(sandbox, redis_url) as reader, pytest.raises(RateLimitError):
        reader.lists.get("ABCDEF")
    assert 29 < Quota(redis, keys).reserve("default", limits.GET_LIST) < 40


def test_without_redis_a_read_says_so(sandbox):
    with (
        impatient(sandbox, "redis://127.0.0.1:1/0") as reader,
        pytest.raises(RedisUnavailableError, match="rate limit"),
    ):
        reader.lists.get("ABCDEF")


def test_a_list_within_the_patience_comes_though_the_second_is_used_up(
    sandbox, redis, redis_url, keys
):
    list_id = sandbox.create_list("News")
    quota = Quota(redis, keys)
    while quota.reserve("default", limits.GET_LISTS_OF_PROFILE) == 0:
        pass
    with impatient(sandbox, redis_url, patience=5.0) as reader:
        profile_id = reader.profiles.id_of(email=ADA)
        assert profile_id is None
        with pytest.raises(NotFoundError, match=r"^profile_id: "):
            reader.profiles.lists("01ABC")
        assert reader.lists.get(list_id).id == list_id


def test_an_access_made_by_hand_may_have_a_rate_limiter_of_its_own(sandbox):
    class NoLimit:
        def reserve(self, account, endpoint, *, is_bulk_lane=False):
            return 0.0

        def throttled(self, account, endpoint, seconds):
            return 1.0

        def learn(self, account, endpoint, headers):
            pass

        def close(self):
            pass

    from klaviyo_relay_worker.klaviyo.client import KlaviyoClient

    list_id = sandbox.create_list("News")
    client = KlaviyoClient(sandbox.url, "pk_test", "2026-07-15", 5.0)
    with Reader(Access(client, NoLimit(), "default", patience=1.0)) as reader:
        assert reader.lists.id_of("News") == list_id


def test_fields_that_nobody_knows_yet_are_kept_and_are_no_error(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    profile_id = account.person(ADA)
    account.member(list_id, profile_id)
    account.event(ADA)
    sandbox.create_segment("VIP", profile_id)
    sandbox.configure(unknown_fields=True)
    found = [
        reader.profiles.get(profile_id),
        *reader.profiles.all(),
        *reader.lists.members(list_id),
        *reader.events.all(),
        *reader.metrics.all(),
        *reader.lists.all(),
        *reader.segments.all(),
    ]
    assert len(found) == 7
    assert all("brand_new" in one.more for one in found)
