"""The consent room: withdrawals are never set back, and joins are noted for those who wait."""

from __future__ import annotations

from entries import entry_of
from klaviyo_relay import AddToList, Unsubscribe
from klaviyo_relay.keys import Keys
from klaviyo_relay_worker.consent import ConsentClock, Joins
from klaviyo_relay_worker.outcome import Delivered, Parked, Parking
from klaviyo_relay_worker.pseudonyms import Pseudonyms


def test_the_clock_is_never_set_back(redis):
    clock = ConsentClock(redis, Keys(), "default", Pseudonyms(redis, Keys()))
    for at in (5, 9, 7):
        clock.record([entry_of(Unsubscribe(email="A@x.io"), at=(1_800_000_000_000 + at) / 1000)])
    assert clock.read(["email:a@x.io", "email:b@x.io"]) == {"email:a@x.io": {"": 1_800_000_000_009}}


def test_joins_are_noted_for_those_alone_who_wait(redis):
    joins = Joins(redis, Keys(), "default", Pseudonyms(redis, Keys()))
    waiting = entry_of(Unsubscribe(list_name="News", email="a@x.io"))
    lists = {"News": "AAAAAA"}
    joined = entry_of(AddToList(list_id="AAAAAA", email="A@x.io"))
    other = entry_of(AddToList(list_id="AAAAAA", email="b@x.io"))
    joins.settling([joined], {"1-0": Delivered()}, lists, 10.0)
    assert not redis.exists(Keys().joins("default"))
    joins.settling([waiting], {"1-0": Parked(0.0, Parking.NOT_ON_LIST)}, lists, 20.0)
    joins.settling([other], {"1-0": Delivered()}, lists, 30.0)
    assert joins.last(waiting, lists) == 20.0
    joins.settling([joined], {"1-0": Delivered()}, lists, 40.0)
    assert joins.last(waiting, lists) == 40.0
