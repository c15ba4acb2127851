"""The line-up, before a Klaviyo that fails with certain commands, or with all for a while."""

from __future__ import annotations

import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from entries import entry_of
from klaviyo_relay import Identify
from klaviyo_relay_worker.plan.lineup import WITNESSES, Lineup


class Search:
    """One line-up from its beginning to its end; `fails` says which requests do."""

    def __init__(self, number, fails, *, is_up=False, guilty=None, seed=0):
        self.waiting = [entry_of(Identify(email=f"p{n}@x.io"), n) for n in range(number)]
        self.culprits, self.delivered, self.requests = [], [], 0
        guilty = number if guilty is None else guilty
        self.lineup = Lineup(guilty, is_up=is_up, chance=Random(seed))
        while not (self.lineup.is_over or self.lineup.is_outage):
            offered = self.lineup.offer(self.waiting)
            self.take_culprits()
            if offered:
                self.send(offered, fails)
        self.take_culprits()

    def send(self, offered, fails):
        self.requests += 1
        if fails(self.requests, {entry.key for entry in offered}):
            self.lineup.failed(offered)
        else:
            self.lineup.passed(offered)
            self.delivered += [entry.key for entry in offered]
            self.waiting = [entry for entry in self.waiting if entry not in offered]

    def take_culprits(self):
        found = [entry.key for entry in self.lineup.take_culprits()]
        self.culprits += found
        self.waiting = [entry for entry in self.waiting if entry.key not in found]


@given(st.integers(2, 1000), st.data())
def test_one_culprit_is_found_in_few_requests_and_no_other_is_blamed(number, data):
    bad = f"{data.draw(st.integers(0, number - 1))}-0"
    found = Search(number, lambda _, sent: bad in sent, seed=data.draw(st.integers(0, 9)))
    assert found.culprits == [bad]
    assert not found.lineup.is_outage
    assert found.requests <= 2 * math.log2(number) + 4


@given(st.integers(2, 300), st.data())
def test_with_several_culprits_only_they_are_blamed(number, data):
    bad = {f"{n}-0" for n in data.draw(st.sets(st.integers(0, number - 1), min_size=1, max_size=8))}
    found = Search(number, lambda _, sent: bool(bad & sent), seed=data.draw(st.integers(0, 9)))
    assert set(found.culprits) <= bad
    assert not bad & set(found.delivered)


@given(st.integers(1, 500), st.integers(0, 9))
def test_nobody_is_blamed_for_an_outage(number, seed):
    found = Search(number, lambda _request, _sent: True, seed=seed)
    assert found.lineup.is_outage
    assert found.culprits == []
    assert found.requests <= 1 + WITNESSES


@given(st.integers(2, 500), st.integers(1, 12), st.integers(0, 9))
def test_nobody_is_blamed_for_an_outage_that_begins_or_ends_meanwhile(number, at, seed):
    for fails in (lambda request, _: request > at, lambda request, _: request <= at + 1):
        found = Search(number, fails, seed=seed)
        # What failed by itself while others passed may be blamed once: it is parked, not dead.
        assert len(found.culprits) <= 1 + WITNESSES


def test_a_lone_command_is_blamed_only_if_klaviyo_is_known_to_work():
    assert Search(1, lambda *_: True, is_up=False).lineup.is_outage
    found = Search(1, lambda *_: True, is_up=True)
    assert found.culprits == ["0-0"]
    assert not found.lineup.is_outage


def test_a_fault_that_has_gone_ends_the_search():
    found = Search(100, lambda *_: False)
    assert found.culprits == []
    assert len(found.delivered) == 100
