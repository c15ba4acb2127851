"""The overview: everything that the page shows at one moment, and what of it needs a person."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay_worker.breaker import PERSON, WHOLE_ACCOUNT, Breakers
from klaviyo_relay_worker.dashboard.audit import Audit, Entry
from klaviyo_relay_worker.dashboard.groups import SCANNED_MOST, Group, Heads, groups_of
from klaviyo_relay_worker.dashboard.throughput import Picture, Throughput, picture
from klaviyo_relay_worker.dashboard.usage import Usage, Usages
from klaviyo_relay_worker.status import Status, state_of

# However many look at the page, Redis is asked no more often than this.
_FRESH_SECONDS = 2.0
_GROUPS_FRESH_SECONDS = 30.0
_AUDIT_SHOWN = 20


class LaneView(Struct, frozen=True):
    """One lane.

    Attributes:
        name: `account:lane`.
        lane: without the account.
        numbers: as `status --json` has them.
        picture: of its last hour.
    """

    name: str
    lane: str
    numbers: dict[str, Any]
    picture: Picture

    @property
    def state(self) -> tuple[str, str]:
        """A word for what it does, and why; see `status.state_of`."""
        return state_of(self.numbers)


class AccountView(Struct, frozen=True):
    """One account.

    Attributes:
        paused_because: why the whole account is paused, or "".
    """

    name: str
    lanes: list[LaneView]
    usages: list[Usage]
    paused_because: str


class DeadView(Struct, frozen=True):
    """The dead letters.

    Attributes:
        total: how many there are.
        seen: how many were looked at; fewer where there are very many.
        groups: of those.
    """

    total: int
    seen: int
    groups: list[Group]


class Concern(Struct, frozen=True):
    """Something that a person should know.

    Attributes:
        level: alarm (somebody must act), notice (it goes on by itself, or was wanted so).
        text: a sentence.
    """

    level: str
    text: str


class Overview(Struct, frozen=True):
    """All of it at one moment (seconds since 1970)."""

    at: float
    accounts: list[AccountView]
    dead: DeadView
    audit: list[Entry]
    concerns: list[Concern]


class Overviews:
    """Makes overviews of one Redis. May be used by several threads."""

    def __init__(self, redis: Redis, keys: Keys, throughput: Throughput) -> None:
        self._status = Status(redis, keys)
        self._breakers = Breakers(redis, keys)
        self._usages = Usages(redis, keys)
        self._heads = Heads(redis, keys)
        self._audit = Audit(redis, keys)
        self._throughput = throughput
        self._guard = threading.Lock()
        self._latest: tuple[float, Overview] | None = None
        self._dead: tuple[float, dict[str, int], DeadView] | None = None

    def look(self) -> Overview:
        """The overview, at most two seconds old.

        Raises:
            redis.RedisError: Redis is away.
        """
        with self._guard:
            now = time.monotonic()
            if self._latest is None or now - self._latest[0] > _FRESH_SECONDS:
                self._latest = (now, self._make())
            return self._latest[1]

    def expire(self) -> None:
        """Something was changed: the next look is a new one."""
        with self._guard:
            self._latest = self._dead = None

    def _make(self) -> Overview:
        self._throughput.sample()
        report = self._status.report()
        accounts = [
            self._account(name, found["lanes"])
            for name, found in sorted(report["accounts"].items())
        ]
        dead = self._dead_letters(accounts)
        concerns = sorted(_concerns(report, accounts, dead), key=lambda one: one.level)
        audit = self._audit.latest(_AUDIT_SHOWN)
        return Overview(time.time(), accounts, dead, audit, concerns)

    def _account(self, name: str, lanes: dict[str, Any]) -> AccountView:
        views = [
            LaneView(f"{name}:{lane}", lane, numbers, self._picture(f"{name}:{lane}"))
            for lane, numbers in sorted(lanes.items())
        ]
        whole, _ = self._breakers.look(name, WHOLE_ACCOUNT)
        return AccountView(name, views, self._usages.of(name), whole.reason)

    def _picture(self, lane: str) -> Picture:
        return picture(self._throughput.hour(lane))

    def _dead_letters(self, accounts: list[AccountView]) -> DeadView:
        """The groups; looked at again when the numbers have changed, or after half a minute."""
        now = time.monotonic()
        counts = {lane.name: lane.numbers["dead"] for one in accounts for lane in one.lanes}
        if self._dead and self._dead[1] == counts and now - self._dead[0] < _GROUPS_FRESH_SECONDS:
            return self._dead[2]
        view = self._groups(counts)
        self._dead = (now, counts, view)
        return view

    def _groups(self, counts: Mapping[str, int]) -> DeadView:
        lanes = [name for name, count in counts.items() if count]
        groups = groups_of(head for name in lanes for head in self._heads.scan(name, SCANNED_MOST))
        return DeadView(sum(counts.values()), sum(one.count for one in groups), groups)


_WAITS = {
    "outage": "Klaviyo does not answer or answers with errors; tried again by itself",
    "throttled": "Klaviyo said 429; goes on by itself",
    "misconfigured": "Klaviyo does not know the address or revision: check KLAVIYO_API_URL"
    " and KLAVIYO_API_REVISION",
    "fault": "a fault of klaviyo-relay; the worker's log has more",
}
_NEEDS_A_PERSON = ("misconfigured", "fault")


def _concerns(
    report: dict[str, Any], accounts: list[AccountView], dead: DeadView
) -> Iterator[Concern]:
    if report["lost"]:
        yield Concern("alarm", f"{report['lost']:,} commands are lost; see klaviyo-relay status")
    if report["surplus"]:
        yield Concern("alarm", f"{report['surplus']:,} commands are there without being accepted")
    for account in accounts:
        if account.paused_because:
            yield _paused(f"The account {account.name}", account.paused_because)
        for lane in account.lanes:
            yield from _concerns_of_lane(lane, is_told=bool(account.paused_because))
    if dead.total:
        yield Concern("notice", f"{dead.total:,} dead letters wait for a decision")


def _concerns_of_lane(lane: LaneView, *, is_told: bool) -> Iterator[Concern]:
    numbers, (word, why) = lane.numbers, lane.state
    if word == "paused" and not is_told:
        yield _paused(f"The lane {lane.name}", why)
    elif word == "waits" and why in _WAITS:
        level = "alarm" if why in _NEEDS_A_PERSON else "notice"
        yield Concern(level, f"{lane.name} waits: {_WAITS[why]}")
    elif word == "unserved":
        text = f"{lane.name} has {numbers['backlog']:,} commands and nobody delivers them"
        yield Concern("alarm", f"{text}: does a worker run?")


def _paused(what: str, why: str) -> Concern:
    if why == PERSON:
        return Concern("notice", f"{what} is paused by a person")
    text = f"{what} is paused: {why}; check the API key and its scopes"
    return Concern("alarm", text)
