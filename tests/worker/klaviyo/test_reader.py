"""Reads against the sandbox, their rate limit in a real Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

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


def requests_to(sandbox, endpoint):
    return sum(sandbox.summary()["requests"].get(endpoint, {}).values())


# --- profiles -------------------------------------------------------------------------------------


def test_a_profile_is_read_with_all_that_it_has(reader, account):
    profile_id = account.person(
        ADA, first_name="Ada", location={"city": "London"}, properties={"tier": "gold"}
    )
    account.consent("create", ADA)
    found = reader.profiles.get(profile_id)
    assert (found.id, found.email, found.first_name) == (profile_id, ADA, "Ada")
    assert found.location["city"] == "London"
    assert found.properties == {"tier": "gold"}
    assert found.created.tzinfo is not None
    assert found.consent() == "SUBSCRIBED"
    assert found.can_receive()
    assert not found.can_receive("sms")


def test_an_id_is_found_by_each_identifier(reader, account):
    profile_id = account.person(ADA, phone_number="+15005550006", external_id='e,"1')
    assert reader.profiles.id_of(email=ADA) == profile_id
    assert reader.profiles.id_of(phone_number="+15005550006") == profile_id
    assert reader.profiles.id_of(external_id='e,"1') == profile_id
    assert reader.profiles.id_of(email=BOB) is None


def test_named_profiles_come_once_even_if_they_are_named_twice(reader, account):
    profile_id = account.person(ADA, phone_number="+15005550006")
    account.person(BOB)
    found = reader.profiles.all(emails=[ADA, ADA, CLO], phone_numbers=["+15005550006"])
    assert [one.id for one in found] == [profile_id]


def test_ten_thousand_and_one_names_are_spread_over_requests(reader, account, sandbox):
    ids = {account.person(f"p{at}@shop.io") for at in (0, 99, 100, 10_000)}
    found = reader.profiles.all(emails=(f"p{at}@shop.io" for at in range(10_001)))
    assert {one.id for one in found} == ids
    assert requests_to(sandbox, limits.GET_PROFILES) == 101


def test_pages_are_asked_for_as_they_are_needed(reader, account, sandbox):
    for at in range(205):
        account.person(f"p{at:03}@shop.io")
    found = reader.profiles.all()
    assert requests_to(sandbox, limits.GET_PROFILES) == 0
    assert len(list(islice(found, 100))) == 100
    assert requests_to(sandbox, limits.GET_PROFILES) == 1
    assert len(list(found)) == 105
    assert requests_to(sandbox, limits.GET_PROFILES) == 3


def test_a_read_goes_on_where_another_one_left_off(reader, account):
    for at in range(205):
        account.person(f"p{at:03}@shop.io")
    first = reader.profiles.all()
    page = next(first.pages())
    rest = reader.profiles.all(cursor=first.cursor)
    emails = [one.email for one in [*page, *rest]]
    assert emails == [f"p{at:03}@shop.io" for at in range(205)]
    assert rest.cursor is None


# --- events and metrics ---------------------------------------------------------------------------


def test_a_timeline_is_read_in_both_directions_and_between_times(reader, account):
    for hour in range(5):
        account.event(ADA, time=f"2026-01-01T0{hour}:00:00Z", unique_id=str(hour), value=1.5)
    account.event(BOB, time="2026-01-01T02:00:00Z")
    profile_id = reader.profiles.id_of(email=ADA)

    def ids(**asked):
        return "".join(one.unique_id for one in reader.events.all(profile_id=profile_id, **asked))

    assert ids() == "43210"
    assert ids(sort="asc") == "01234"
    assert ids(sort="asc", count=2) == "01"
    middle = {"since": "2026-01-01T01:00:00Z", "until": datetime(2026, 1, 1, 3, tzinfo=UTC)}
    assert ids(sort="asc", **middle) == "12"


def test_an_event_tells_its_metric_its_profile_and_its_amount(reader, account):
    account.event(ADA, value=9.5, value_currency="EUR", properties={"size": "M"}, unique_id="u")
    [found] = reader.events.all(metric="Placed Order")
    assert (found.metric, found.metric_id) == ("Placed Order", reader.metrics.id_of("Placed Order"))
    assert found.profile_id == reader.profiles.id_of(email=ADA)
    assert (found.value, found.value_currency, found.unique_id) == (9.5, "EUR", "u")
    assert found.event_properties["size"] == "M"


def test_a_metric_is_found_by_its_name_and_all_are_read_for_it_once(reader, account, sandbox):
    for name in ("Viewed", "Placed Order"):
        account.event(ADA, name)
    ids = {one.name: one.id for one in reader.metrics.all()}
    assert {name: reader.metrics.id_of(name) for name in ids} == ids
    assert requests_to(sandbox, limits.GET_METRICS) == 2
    assert reader.metrics.get(ids["Viewed"]).name == "Viewed"
    with pytest.raises(InvalidArgumentError, match=r"^metric: Klaviyo has no metric of this name"):
        reader.events.all(metric="Gone")


def test_a_metric_made_later_is_found_too(reader, account):
    account.event(ADA, "Viewed")
    assert reader.metrics.id_of("Viewed")
    account.event(ADA, "Bought")
    assert reader.metrics.id_of("Bought")


def test_nothing_found_is_told_from_nobody_known(reader, account):
    profile_id = account.person(ADA)
    assert list(reader.events.all(profile_id=profile_id)) == []
    with pytest.raises(NotFoundError, match=r"^profile_id: "):
        list(reader.events.all(profile_id="01ABC"))
    with pytest.raises(NotFoundError, match=r"^metric_id: "):
        list(reader.events.all(metric_id="ABCDEF"))


# --- lists ----------------------------------------------------------------------------------------


def test_lists_are_read_though_ten_fill_a_page(reader, sandbox):
    ids = [sandbox.create_list(f"List {at}") for at in range(23)]
    assert [one.id for one in reader.lists.all()] == ids
    assert requests_to(sandbox, limits.GET_LISTS) == 3
    assert reader.lists.get(ids[7]).name == "List 7"
    assert reader.lists.get(ids[7], with_count=True).profile_count == 0


def test_a_name_that_two_lists_share_is_refused_with_both_ids(reader, sandbox):
    ids = [sandbox.create_list("News"), sandbox.create_list("News")]
    with pytest.raises(InvalidArgumentError) as caught:
        reader.lists.members(list_name="News")
    assert caught.value.argument == "list_name"
    assert all(each in caught.value.rule for each in ids)


def test_members_and_subscribers_are_told_apart(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    ids = [account.person(email) for email in (ADA, BOB, CLO)]
    account.member(list_id, *ids)
    account.consent("delete", BOB)
    account.consent("create", CLO, list_id)
    account.consent("delete", CLO, list_id)
    account.member(list_id, ids[2])
    assert {one.email for one in reader.lists.members(list_id)} == {ADA, BOB, CLO}
    assert [one.email for one in reader.lists.subscribers(list_id)] == [ADA]
    named = reader.lists.subscribers(list_name="News", emails=[BOB, ADA])
    assert [one.email for one in named] == [ADA]
    assert [one.email for one in reader.lists.members(list_id, emails=[BOB])] == [BOB]
    assert reader.profiles.lists(ids[0])[0].name == "News"


def test_exclusions_come_with_reason_and_time(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    account.consent("create", ADA, list_id)
    account.consent("delete", ADA, list_id)
    account.person(BOB)
    account.consent("delete", BOB)
    [excluded] = reader.lists.exclusions(list_id)
    assert (excluded.email, excluded.reason, excluded.list_id) == (ADA, "UNSUBSCRIBE", list_id)
    assert excluded.timestamp.tzinfo is not None
    [suppressed] = reader.profiles.suppressed()
    assert (suppressed.email, suppressed.reason, suppressed.list_id) == (BOB, "UNSUBSCRIBE", None)
    assert list(reader.profiles.suppressed(reason="HARD_BOUNCE")) == []
    assert list(reader.lists.exclusions(list_id, since="2100-01-01")) == []


def test_the_exclusions_of_an_unknown_list_are_an_error_and_not_an_empty_list(reader):
    with pytest.raises(NotFoundError, match=r"^list_id: "):
        list(reader.lists.exclusions("ABCDEF"))


# --- bad input ------------------------------------------------------------------------------------

BAD = {
    "emails": lambda reader: reader.lists.members("ABCDEF", emails=[]),
    "emails[1]": lambda reader: reader.profiles.all(emails=[ADA, "no address"]),
    "phone_numbers[0]": lambda reader: reader.profiles.all(phone_numbers=["500"]),
    "push_tokens": lambda reader: reader.lists.members("ABCDEF", push_tokens="one"),
    "list_id": lambda reader: reader.lists.get("not an id"),
    "list_id | list_name": lambda reader: reader.lists.members("ABCDEF", list_name="News"),
    "segment_id | segment_name": lambda reader: reader.segments.members(),
    "profile_id": lambda reader: reader.profiles.get(""),
    "email | phone_number | external_id": lambda reader: reader.profiles.id_of(),
    "sort": lambda reader: reader.events.all(sort="newest"),
    "since": lambda reader: reader.events.all(since=1_700_000_000),
    "until": lambda reader: reader.events.all(until=datetime(2026, 1, 1)),  # noqa: DTZ001 - what is refused
    "count": lambda reader: reader.events.all(count=0),
    "cursor": lambda reader: reader.profiles.all(emails=[ADA], cursor="c"),
    "metric_id | metric": lambda reader: reader.metrics.aggregate(
        start="2026-01-01", end="2026-02-01"
    ),
    "end": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-02-01", end="2026-01-01"
    ),
    "interval": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", interval="year"
    ),
    "measurements": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", measurements=["value"]
    ),
    "by": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", by=["color"]
    ),
    "where": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", where={"$city": "Bonn"}
    ),
    "timezone": lambda reader: reader.metrics.aggregate(
        metric_id="A", start="2026-01-01", end="2026-02-01", timezone="Mars/Olympus"
    ),
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_input_names_the_argument_and_asks_nothing(reader, sandbox, argument):
    with pytest.raises(InvalidArgumentError) as caught:
        BAD[argument](reader)
    assert caught.value.argument == argument
    assert ADA not in str(caught.value)
    assert sandbox.summary()["requests"] == {}


# --- faults ---------------------------------------------------------------------------------------


def test_an_outage_and_a_lost_answer_are_waited_out(reader, sandbox):
    list_id = sandbox.create_list("News")
    sandbox.set_faults([{"status": 503, "times": 2}, {"action": "reset", "times": 1}])
    assert reader.lists.get(list_id).name == "News"
    assert requests_to(sandbox, limits.GET_LIST) == 4


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


# --- the rate limit -------------------------------------------------------------------------------


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


# --- segments, push tokens, what nobody knows yet -------------------------------------------------


def test_a_segment_is_read_by_id_and_by_name(reader, account, sandbox):
    ids = [account.person(ADA), account.person(BOB)]
    segment_id = sandbox.create_segment("VIP", *ids)
    assert [one.name for one in reader.segments.all()] == ["VIP"]
    assert reader.segments.id_of("VIP") == segment_id
    assert reader.segments.get(segment_id, with_count=True).profile_count == 2
    assert {one.email for one in reader.segments.members(segment_id)} == {ADA, BOB}
    named = reader.segments.members(segment_name="VIP", emails=[BOB, CLO])
    assert [one.email for one in named] == [BOB]


def test_a_member_is_found_by_push_token(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    ids = [account.person(ADA), account.person(BOB)]
    account.member(list_id, *ids)
    sandbox.add_push_token(ADA, "token/1")
    found = reader.lists.members(list_id, push_tokens=["token/1", "token/2"])
    assert [one.id for one in found] == ids[:1]


def test_complaints_and_bounces_are_told_apart(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    for email in (ADA, BOB, CLO):
        account.person(email)
    sandbox.suppress(ADA, "HARD_BOUNCE")
    sandbox.suppress(BOB, "SPAM_COMPLAINT", list_id)
    sandbox.suppress(CLO, "UNSUBSCRIBE", list_id)
    sandbox.suppress(CLO, "SPAM_COMPLAINT", sandbox.create_list("Other"))

    def reasons(found):
        return {(one.email, one.reason) for one in found}

    assert reasons(reader.profiles.suppressed()) == {(ADA, "HARD_BOUNCE")}
    assert reasons(reader.lists.exclusions(list_id)) == {
        (BOB, "SPAM_COMPLAINT"),
        (CLO, "UNSUBSCRIBE"),
    }
    complaints = reader.lists.exclusions(list_id, reason="SPAM_COMPLAINT")
    assert reasons(complaints) == {(BOB, "SPAM_COMPLAINT")}


def test_exclusions_come_over_many_pages(reader, account, sandbox):
    list_id = sandbox.create_list("News")
    emails = {f"p{at}@shop.io" for at in range(230)}
    for email in emails:
        account.person(email)
        sandbox.suppress(email, "UNSUBSCRIBE", list_id)
    assert {one.email for one in reader.lists.exclusions(list_id)} == emails


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
