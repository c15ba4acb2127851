"""The worker's public names as type checkers see them; never run, only `make check` reads it.

mypy and pyright must agree, as for api.py beside it. tests/packaging looks that no public name of
the packages below is missing here. Celery has no types: where it comes in, both see Any.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from celery import Celery

from klaviyo_relay_worker import install
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.errors import (
    AuthenticationError,
    InvalidArgumentError,
    KlaviyoError,
    NotFoundError,
    RateLimitError,
    RefusedError,
)
from klaviyo_relay_worker.klaviyo import (
    Aggregate,
    Event,
    Exclusion,
    MailingList,
    Metric,
    Pages,
    Profile,
    Reader,
    Segment,
)
from klaviyo_relay_worker.outcome import Failure
from klaviyo_relay_worker.sandbox import Sandbox
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.telemetry.event import DeliveryAttempted, Listener, Settled, Telemetry
from klaviyo_relay_worker.telemetry.event import Event as Told
from klaviyo_relay_worker.telemetry.log import log

ADA = "ada@lovelace.dev"
NOW = datetime.now(UTC)

# The verbs and the delivery in an application's own Celery app.
install(Celery("shop"))
install(Celery("shop"), WorkerSettings(api_keys={"default": "pk_1"}, concurrency=4))
install(Celery("shop"), settings="redis://")  # type: ignore[arg-type]
assert_type(WorkerSettings.from_env({}), WorkerSettings)
WorkerSettings(api_keys=["pk_1"])  # type: ignore[arg-type]

# Each read, with what it gives.
with Reader.from_env("shop", patience=300, environ={}) as klaviyo:
    assert_type(klaviyo, Reader)
    assert_type(klaviyo.profiles.get("01G"), Profile)
    assert_type(klaviyo.profiles.id_of(email=ADA), str | None)
    assert_type(klaviyo.profiles.all(emails=[ADA]), Pages[Profile])
    assert_type(klaviyo.profiles.suppressed(reason="HARD_BOUNCE"), Pages[Exclusion])
    assert_type(klaviyo.profiles.lists("01G"), list[MailingList])
    assert_type(klaviyo.events.all(profile_id="01G", since=NOW, count=100), Pages[Event])
    assert_type(klaviyo.metrics.all(), Pages[Metric])
    assert_type(klaviyo.metrics.get("M1"), Metric)
    assert_type(klaviyo.metrics.id_of("Placed Order"), str)
    assert_type(
        klaviyo.metrics.aggregate(
            metric="Placed Order",
            start="2026-01-01",
            end=NOW,
            measurements=["count", "sum_value"],
            interval="month",
            by=["$flow"],
            where={"$flow": ["A", "B"]},
        ),
        Aggregate,
    )
    assert_type(klaviyo.lists.all(), Pages[MailingList])
    assert_type(klaviyo.lists.get("Y6nRLr", with_count=True).profile_count, int | None)
    assert_type(klaviyo.lists.get(list_name="News"), MailingList)
    assert_type(klaviyo.lists.id_of("News"), str)
    assert_type(klaviyo.lists.members(list_name="News"), Pages[Profile])
    assert_type(klaviyo.lists.subscribers("Y6nRLr", channel="sms"), Pages[Profile])
    assert_type(klaviyo.lists.exclusions("Y6nRLr"), Pages[Exclusion])
    assert_type(klaviyo.segments.all(), Pages[Segment])
    assert_type(klaviyo.segments.get("S1"), Segment)
    assert_type(klaviyo.segments.members("S1"), Pages[Profile])

    klaviyo.profiles.get(email=ADA)  # type: ignore[call-arg]
    klaviyo.lists.subscribers("Y6nRLr", channel="fax")  # type: ignore[arg-type]
    klaviyo.lists.exclusions("Y6nRLr", reason="unsubscribe")  # type: ignore[arg-type]
    klaviyo.metrics.aggregate(metric="M", start=NOW, end=NOW, interval="year")  # type: ignore[arg-type]

    # A read is an iterator, and its pages carry the cursor to go on from.
    members = klaviyo.lists.members("Y6nRLr", cursor=None)
    for member in members:
        assert_type(member.email, str | None)
        assert_type(member.consent("email"), str | None)
        assert_type(member.can_receive(list_id="Y6nRLr"), bool)
    assert_type(members.cursor, str | None)
    assert_type(next(klaviyo.events.all()).value, float | None)

try:
    klaviyo.profiles.get("01G")
except NotFoundError as error:
    assert_type(error.failures, tuple[Failure, ...])
except RefusedError as error:
    assert_type(error.status, int)
except RateLimitError as error:
    assert_type(error.retry_after, float)
except AuthenticationError as error:
    assert_type(error.status, int)
except InvalidArgumentError as error:
    assert_type(error.argument, str)
except KlaviyoError as error:
    assert_type(error.status, int)


# A listener of the two canonical events, in place of signals.
def count(event: Told) -> None:
    match event:
        case DeliveryAttempted():
            assert_type(event.items, int)
        case Settled():
            assert_type(event.outcome, str)


listener: Listener = count
Telemetry(count, listener, log).tell(Settled(account="default", lane="events", outcome="delivered"))
Telemetry("log")  # type: ignore[arg-type]

# For development and tests: a Redis and a Klaviyo of one's own.
with PrivateRedis() as server, Sandbox(limits=False) as sandbox:
    assert_type(server.url, str)
    assert_type(sandbox.url, str)
