"""The producer's public names as type checkers see them; never run, only `make check` reads it.

mypy and pyright must agree: each `assert_type` is what both infer, each ignored line is what both
refuse. tests/packaging looks that no name of `klaviyo_relay.__all__` is missing here.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, assert_type

import klaviyo_relay as klaviyo
from klaviyo_relay import (
    AddToList,
    CreateList,
    DeleteList,
    DeleteProfile,
    Identify,
    InvalidCommandError,
    Producer,
    RelayError,
    RemoveFromList,
    RenameList,
    Settings,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
    Unsuppress,
)
from klaviyo_relay.batch import Enqueued
from klaviyo_relay.commands import Command
from klaviyo_relay.errors import (
    ConfigurationError,
    RedisUnavailableError,
    SpoolError,
    SpoolFullError,
)
from klaviyo_relay.frames import commands as commands_of
from klaviyo_relay.shipper import Flushed
from klaviyo_relay.testing import Capture, Captured, CaptureMixin, capture

ADA = "ada@lovelace.dev"
NOW = datetime.now(UTC)

# Each verb, with every argument, returns the command's id.
assert_type(
    klaviyo.track(
        "Placed Order",
        email=ADA,
        phone_number="+15005550006",
        external_id="crm-1",
        profile_id="01G",
        anonymous_id="a",
        properties={"items": [{"sku": "A"}]},
        value=Decimal("23.99"),
        value_currency="USD",
        time=NOW,
        unique_id="order-1",
        profile={"first_name": "Ada", "properties": {"plan": "gold"}},
        backfill=True,
        account="default",
    ),
    str,
)
assert_type(klaviyo.track("M", email=ADA, value=1, time="2026-01-31T12:00:00Z"), str)
assert_type(klaviyo.track_once("Signed Up", email=ADA), str)
assert_type(
    klaviyo.identify(
        email=ADA,
        first_name="Ada",
        location={"city": "London", "latitude": 51.5},
        properties={"plan": "gold"},
        unset=["title"],
        append={"tags": ["a"]},
        unappend={"groups": "b"},
    ),
    str,
)
assert_type(klaviyo.add_to_list("Y6nRLr", email=ADA), str)
assert_type(klaviyo.remove_from_list(list_name="News", email=ADA), str)
assert_type(klaviyo.create_list("News", opt_in_process="single_opt_in"), str)
assert_type(klaviyo.created_list("018f", account="default", timeout=5), str | None)
assert_type(klaviyo.rename_list("Y6nRLr", new_name="Old news"), str)
assert_type(klaviyo.delete_list(list_name="News"), str)
assert_type(
    klaviyo.subscribe(
        "Y6nRLr", email=ADA, channels=("email", "sms"), consented_at=NOW, source="shop"
    ),
    str,
)
assert_type(klaviyo.subscribe(email=ADA, channels=["email"]), str)
assert_type(klaviyo.unsubscribe(email=ADA), str)
assert_type(klaviyo.suppress(email=ADA), str)
assert_type(klaviyo.unsuppress(email=ADA), str)
assert_type(klaviyo.delete_profile(email=ADA), str)
assert_type(klaviyo.enqueue(Track(metric="M", email=ADA)), str)
assert_type(klaviyo.flush(), Flushed)
assert_type(klaviyo.flush(1.5).left, int)
assert_type(klaviyo.close(timeout=None), Flushed)

# What is wrong is seen before it runs.
klaviyo.track("M", mail=ADA)  # type: ignore[call-arg]
klaviyo.track(metric=5, email=ADA)  # type: ignore[arg-type]
klaviyo.track("M", email=ADA, value="23.99")  # type: ignore[arg-type]
klaviyo.suppress()  # type: ignore[call-arg]
klaviyo.subscribe(email=ADA, channels=["fax"])  # type: ignore[list-item]
klaviyo.enqueue("track")  # type: ignore[arg-type]
Track(email=ADA)  # type: ignore[call-arg]
Track(metric="M", email=ADA).metric = "other"  # type: ignore[misc]


# A load takes any iterable of any commands.
def commands() -> Iterator[Command]:
    yield Track(metric="M", email=ADA, time=NOW, value=Decimal(1))
    yield Identify(email=ADA, unset=["title"])
    yield AddToList(list_id="Y6nRLr", email=ADA)
    yield RemoveFromList(list_id="Y6nRLr", email=ADA)
    yield CreateList(list_name="News")
    yield RenameList(list_name="News", new_name="Old news")
    yield DeleteList(list_name="News")
    yield Subscribe(email=ADA, consented_at=NOW, channels=("email",))
    yield Unsubscribe(email=ADA)
    yield Suppress(email=ADA)
    yield Unsuppress(email=ADA)
    yield DeleteProfile(email=ADA)


assert_type(klaviyo.enqueue_many(commands()), Enqueued)
assert_type(klaviyo.enqueue_many([Track(metric="M", email=ADA)], source="cdnow").added, int)
assert_type(klaviyo.enqueue_many((), bulk=False, timeout=5, account="shop_2").given, int)


# The two verbs that wait for the disk have a form for coroutines.
async def in_a_coroutine() -> None:
    assert_type(await klaviyo.unsubscribe_async("Y6nRLr", email=ADA), str)
    assert_type(await klaviyo.delete_profile_async(email=ADA), str)
    assert_type(await producer.unsubscribe_async(email=ADA), str)


# A frame of any library becomes commands of the kind that was asked for.
assert_type(commands_of([{"email": ADA}], Track, metric="M"), Iterator[Track])
assert_type(klaviyo.enqueue_many(commands_of([], Identify)), Enqueued)

# A producer with settings of its own has the same verbs.
producer = Producer(Settings(redis_url="redis://127.0.0.1:6379/0", durability="full"))
assert_type(producer.track("M", email=ADA), str)
assert_type(producer.settings, Settings)
assert_type(Settings.from_env({}), Settings)
assert_type(Producer(None), Producer)
assert_type(Settings().ship, Literal["background", "sync"])
Settings(durability="sometimes")  # type: ignore[arg-type]

try:
    klaviyo.track("M", email=ADA)
except InvalidCommandError as error:
    assert_type(error.field, str)
    assert_type(error.rule, str)
except SpoolFullError as error:
    wider: SpoolError = error
except RedisUnavailableError as error:
    assert_type(error.accepted, int)
except ConfigurationError as error:
    assert_type(error.faults, tuple[str, ...])
except RelayError as error:
    assert_type(error, RelayError)

# In an application's tests.
with capture(keep=False) as relay:
    assert_type(relay, Capture)
    assert_type(relay.assert_tracked("M", count=1, email=ADA), Track)
    assert_type(relay.assert_identified(email=ADA), Identify)
    assert_type(relay.assert_added_to_list("Y6nRLr"), AddToList)
    assert_type(relay.assert_removed_from_list("Y6nRLr"), RemoveFromList)
    assert_type(relay.assert_subscribed(email=ADA), Subscribe)
    assert_type(relay.assert_unsubscribed(email=ADA), Unsubscribe)
    assert_type(relay.assert_sent(RenameList, new_name="Old news"), RenameList)
    assert_type(relay.captured, list[Captured])
    assert_type(relay.captured[0].command, Command)
    relay.assert_tracked(metric=5)  # type: ignore[arg-type]
    relay.assert_sent(str)  # type: ignore[type-var]


class CheckoutTest(CaptureMixin):
    def test_an_order_is_tracked(self) -> None:
        assert_type(self.relay.assert_tracked("M"), Track)
