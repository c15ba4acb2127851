"""The courier: what Klaviyo has answered counts, whatever else fails meanwhile."""

from __future__ import annotations

import threading
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from klaviyo_relay import Identify, Track
from klaviyo_relay.envelope import Envelope
from klaviyo_relay_worker import courier as module
from klaviyo_relay_worker import judge, limits
from klaviyo_relay_worker.courier import Courier, traces_of
from klaviyo_relay_worker.errors import AnswerLostError, NotSentError
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import Reason
from klaviyo_relay_worker.plan.batch import Batch, Entry, Exchange
from klaviyo_relay_worker.telemetry.event import TRACES_MOST, Telemetry
from rooms import ACCOUNT, Rooms

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
    sandbox.set_faults([{"endpoint": IMPORT, "status": 500}])
    house.enqueue(*(Identify(email=f"p{n}@shop.io") for n in range(20)))
    failed = looked = 0

    def is_lined_up():
        nonlocal failed, looked
        failed, looked = house.requests_to(IMPORT), house.requests_to(limits.GET_IMPORT_JOBS)
        house.turn()
        return house.requests_to(limits.IMPORT_PROFILE)

    until(is_lined_up)
    failed = house.requests_to(IMPORT) - failed
    looked = house.requests_to(limits.GET_IMPORT_JOBS) - looked
    left = len(house.lane_state("profiles").imports)
    assert failed > 0
    # The first look is for the import of the turn before.
    assert looked - 1 + left == failed


# --- one conversation, with a Klaviyo that the test plays -----------------------------------------


class PlayedClient:
    """A client of Klaviyo that answers as it is told."""

    seconds, host, port = 1.0, "a.klaviyo.com", 443

    def __init__(self):
        self.sent, self.answers, self.before = [], [], lambda: None

    def send(self, request):
        self.before()
        self.sent.append(request)
        found = self.answers.pop(0) if self.answers else Answer(202, {}, b"{}")
        if isinstance(found, Exception):
            raise found
        return found


class Post:
    """A courier of a lane whose lease lasts, and batches of so many requests."""

    def __init__(self, redis, lane="events"):
        self.heard = []
        self.rooms = Rooms(redis, lane)
        self.client, self.accounts = PlayedClient(), self.rooms.accounts
        self.rooms.lease.extend(time.monotonic())
        self.is_draining = False
        self.courier = Courier(
            self.client,
            self.accounts,
            Telemetry(self.heard.append),
            self.rooms.lane,
            self.rooms.lease,
            clock=self.rooms.clock,
            failures=0,
            is_draining=lambda: self.is_draining,
        )

    def batch(self, endpoints, entries=()):
        def converse(ledger):
            for number, endpoint in enumerate(endpoints):
                answer = yield Request(endpoint=endpoint, path="/")
                ledger.created[str(number)] = str(answer.status)

        return Batch(endpoints[0], list(entries), converse)

    def deliver(self, *endpoints):
        return self.courier.deliver(self.batch(endpoints))


@pytest.fixture
def post(redis):
    made = Post(redis)
    yield made
    made.rooms.senders.shutdown()


EVENT, DELETION = limits.CREATE_EVENT, limits.DELETE_PROFILE


def test_a_conversation_goes_on_to_its_end(post):
    post.client.answers = [Answer(200, {}, b"{}"), Answer(400, {}, b"{}"), Answer(204, {}, b"")]
    returned = post.deliver(EVENT, EVENT, EVENT)
    assert returned.snooze is None
    assert returned.ledger.created == {"0": "200", "1": "400", "2": "204"}
    assert returned.ledger.facts.accepted == Exchange(EVENT, 204)
    assert returned.ledger.facts.refused == Exchange(EVENT, 400)
    assert [event.outcome for event in post.heard] == ["answered"] * 3


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (Answer(503, {}, b""), Reason.OUTAGE, 503),
        (Answer(429, {"retry-after": "7"}, b""), Reason.THROTTLED, 429),
        (Answer(401, {}, b""), Reason.UNAUTHORIZED, 401),
        (AnswerLostError("reset"), Reason.OUTAGE, 0),
        (NotSentError("refused"), Reason.OUTAGE, 0),
    ],
    ids=["503", "429", "401", "lost", "not sent"],
)
def test_what_speaks_of_klaviyo_ends_it_and_what_was_settled_stays(post, answer, reason, status):
    post.client.answers = [Answer(200, {}, b"{}"), answer]
    returned = post.deliver(EVENT, EVENT, EVENT)
    assert (returned.snooze.reason, returned.snooze.status) == (reason, status)
    assert returned.ledger.created == {"0": "200"}
    assert len(post.client.sent) == 2
    assert (post.heard[-1].outcome, post.heard[-1].status) == (reason, status)


def test_the_first_request_has_its_quota_already_and_the_others_reserve_theirs(post):
    post.accounts.quota.throttled(ACCOUNT, EVENT, 30)
    returned = post.deliver(EVENT, EVENT)
    assert len(post.client.sent) == 1
    assert returned.snooze.reason == Reason.QUOTA
    assert 20 < returned.snooze.seconds <= 30


def test_a_short_wait_for_quota_is_waited_between_two_requests(post):
    post.accounts.quota.throttled(ACCOUNT, DELETION, 0.3)
    assert post.deliver(EVENT, DELETION).snooze is None
    assert len(post.client.sent) == 2


def test_a_reservation_that_is_old_counts_no_more(post, monkeypatch):
    monkeypatch.setattr(module, "RESERVED_SECONDS", -1.0)
    post.accounts.quota.throttled(ACCOUNT, EVENT, 30)
    assert post.deliver(EVENT).snooze.reason == Reason.QUOTA
    assert post.client.sent == []


def test_nothing_is_sent_that_may_outlast_the_lease(post):
    post.rooms.lease.lose()
    returned = post.deliver(EVENT)
    assert (returned.snooze.reason, post.client.sent) == (Reason.LEASE, [])


def test_a_lease_that_is_about_to_be_renewed_is_waited_for(post):
    lease = post.rooms.lease
    lease.lose()
    threading.Timer(0.2, lease.extend, (time.monotonic() + 1,)).start()
    assert post.deliver(EVENT).snooze is None


@pytest.mark.parametrize("how", ["drained", "stopped"])
def test_a_conversation_that_has_to_end_does_so_after_its_request(post, how):
    def end():
        post.is_draining = how == "drained"
        if how == "stopped":
            post.courier.stop()

    post.client.before = end
    returned = post.deliver(EVENT, EVENT)
    assert (returned.snooze.reason, len(post.client.sent)) == (Reason.DRAINING, 1)
    assert returned.ledger.created == {"0": "202"}


def test_a_batch_that_was_cleared_is_sent_though_the_worker_drains(post):
    post.is_draining = True
    assert post.deliver(EVENT).snooze is None
    assert len(post.client.sent) == 1


def test_a_fault_of_ours_costs_no_command_and_is_seen(post, caplog):
    post.client.answers = [ZeroDivisionError("a shape that nobody foresaw")]
    returned = post.deliver(EVENT)
    assert (returned.snooze.reason, returned.snooze.is_failure) == (Reason.FAULT, True)
    assert "ZeroDivisionError" in caplog.text


def test_redis_that_is_away_before_a_request_lets_the_lane_wait(post, monkeypatch):
    monkeypatch.setattr(post.accounts.quota, "reserve", redis_fails)
    returned = post.deliver(EVENT, EVENT)
    assert (returned.snooze.reason, returned.ledger.created) == (Reason.REDIS_AWAY, {"0": "202"})


def failures(post):
    return post.accounts.breakers.look(ACCOUNT, "events")[1].failures


def test_all_workers_learn_of_an_outage_and_of_its_end(post):
    post.client.answers = [Answer(503, {}, b"")]
    post.deliver(EVENT)
    assert failures(post) == 1
    post.deliver(EVENT)
    assert failures(post) == 0


def test_all_workers_learn_of_a_429(post):
    post.client.answers = [Answer(429, {"retry-after": "7"}, b"")]
    post.deliver(EVENT)
    assert post.accounts.quota.reserve(ACCOUNT, EVENT) > 5


@pytest.mark.parametrize(
    ("answers", "known"),
    [
        ([Answer(202, {}, b"{}")], 1),
        ([Answer(400, {}, b"{}")], 1),
        ([Answer(429, {}, b"")], 1),
        ([Answer(504, {}, b"")], 0),
        ([AnswerLostError("reset")], 0),
        ([Answer(202, {}, b"{}"), AnswerLostError("reset")], 1),
    ],
    ids=["taken", "refused", "throttled", "504", "lost", "taken, then lost"],
)
def test_it_is_known_what_became_of_an_import_or_it_is_not(redis, answers, known):
    post = Post(redis, "profiles")
    post.client.answers = list(answers)
    returned = post.deliver(*[IMPORT] * len(answers))
    notes = set(post.rooms.lane.state().imports)
    assert len(notes) == len(answers)
    assert len(returned.ledger.imports) == known
    assert {*returned.ledger.imports, *returned.ledger.unsure} == notes
    assert len(returned.ledger.unsure) == len(answers) - known
    assert all(abs(when - time.time()) < 60 for when in returned.ledger.unsure.values())


def test_the_traces_of_the_callers_are_told_each_once(post):
    def traced(trace):
        command = Track(metric="M", email="a@x.io")
        return Entry("1-0", Envelope(id="i", account="a", at=1, command=command, trace=trace), 1)

    entries = [traced(one) for one in ("00-a", None, "00-b", "00-a")]
    post.courier.deliver(post.batch([EVENT], entries))
    assert post.heard[0].traces == ("00-a", "00-b")
    assert traces_of(traced(f"00-{n}") for n in range(TRACES_MOST + 5)) == tuple(
        f"00-{n}" for n in range(TRACES_MOST)
    )
