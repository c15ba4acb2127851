"""Circuit breakers: one for each account and family of endpoints, shared by all workers.

    closed     all is well, or fewer than three failures in a row
    open       nothing is sent, and no attempt spent, until a time; longer after each failure
    half-open  the time has come: one batch of one lane is sent, and its answer decides

A failure is an outage: no answer, or a server error. Requests that were under way together when
Klaviyo broke are one failure, not as many as there were; and an answer to a request that was sent
before the breaker opened does not close it. A family is what a lane and its `:bulk` twin share.

A pause is a breaker that is opened for a reason: the key is refused (401, the whole account), or
lacks a scope (403, the family). It has a probe a minute, too. A person's pause has no end, and
neither an answer nor a failure of what was still under way changes it.

All times are taken from Redis's clock, in its scripts. One that is set back holds nothing up.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any
from uuid import uuid4

from msgspec import Struct
from redis import Redis

from klaviyo_relay.keys import Keys
from klaviyo_relay.scripts import script_of
from klaviyo_relay_worker.waits import seconds_ahead

OPENS_AT = 3
# How long a probe may take: the longest deadline of a request, and time to settle.
PROBE_LASTS_SECONDS = 15.0
# No outage and no pause of Klaviyo's waits longer for its next probe (retry.py, judge.py).
WAIT_MOST_SECONDS = 60.0
# The family of what concerns a whole account.
WHOLE_ACCOUNT = ""
PERSON = "person"
_NO_END_SECONDS = 100 * 365 * 86_400.0
_NOTE_SUCCESS_EVERY_SECONDS = 1.0
_FIELDS = ("failures", "until", "probe_until", "succeeded", "reason", "since", "paused")


class BreakerState(Struct, frozen=True):
    """A breaker at one moment; times in seconds by Redis's clock.

    Attributes:
        now: that moment.
        failures: in a row.
        until: when it is half-open; 0 while it is closed.
        probe_until: a probe is under way, until then at the latest.
        succeeded: when Klaviyo last answered properly, to about a second.
        reason: of a pause, or "".
        since: when the pause began, or 0.
        paused: seconds of all pauses that are over.
    """

    now: float
    failures: int = 0
    until: float = 0.0
    probe_until: float = 0.0
    succeeded: float = 0.0
    reason: str = ""
    since: float = 0.0
    paused: float = 0.0

    @property
    def word(self) -> str:
        """closed, open or half-open."""
        if self.failures < OPENS_AT:
            return "closed"
        return "open" if self._until_probe else "half-open"

    @property
    def wait_seconds(self) -> float:
        """How long nothing may be sent, not even a probe; 0 if it may."""
        if self.failures < OPENS_AT:
            return 0.0
        probe = seconds_ahead(self.probe_until, self.now, PROBE_LASTS_SECONDS)
        return max(self._until_probe, probe)

    @property
    def needs_probe(self) -> bool:
        """Whether what is sent now must be a probe."""
        return self.failures >= OPENS_AT

    @property
    def paused_seconds(self) -> float:
        """Seconds of all pauses so far."""
        return self.paused + (max(0.0, self.now - self.since) if self.since else 0.0)

    @property
    def _until_probe(self) -> float:
        most = math.inf if self.reason == PERSON else WAIT_MOST_SECONDS
        return seconds_ahead(self.until, self.now, most)


class Breakers:
    """All breakers of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._run: Any = redis.register_script(script_of("klaviyo_relay_worker", "breaker"))
        self._guard = threading.Lock()
        # When this process last noted a success, by key. A failure takes the key away, so that the
        # next success is noted at once.
        self._noted: dict[str, float] = {}

    def look(self, account: str, family: str) -> tuple[BreakerState, BreakerState]:
        """The account's breaker and the family's."""
        pipeline = self._redis.pipeline(transaction=False)
        names = [self._keys.breaker(account, one) for one in (WHOLE_ACCOUNT, family)]
        for name in names:
            pipeline.hmget(name, *_FIELDS)
        pipeline.time()
        whole, own, (seconds, microseconds) = pipeline.execute()
        now = seconds + microseconds / 1e6
        found = _state(now, whole), _state(now, own)
        for name, state in zip(names, found, strict=True):
            if state.failures:
                self._forget(name)
        return found

    def failed(self, account: str, family: str, began: float, wait: float) -> int:
        """An outage was met by a request that was sent at `began` (monotonic seconds).

        Args:
            account, family: whose breaker.
            began: when the request was sent.
            wait: seconds until the next try, if the breaker opens now.

        Returns:
            The failures in a row.
        """
        key = self._keys.breaker(account, family)
        self._forget(key)
        return int(self._call(key, "failed", _age(began), int(wait * 1000), OPENS_AT))

    def succeeded(self, account: str, family: str, began: float) -> None:
        """Klaviyo answered, whatever it said of the commands."""
        for one in (WHOLE_ACCOUNT, family):
            key = self._keys.breaker(account, one)
            now = time.monotonic()
            with self._guard:
                is_news = now - self._noted.get(key, 0.0) >= _NOTE_SUCCESS_EVERY_SECONDS
                if is_news:
                    self._noted[key] = now
            if is_news:
                self._call(key, "succeeded", _age(began), OPENS_AT)

    def pause(self, account: str, family: str, reason: str, seconds: float | None = None) -> None:
        """Open a breaker for a reason; with a probe after `seconds`, or without an end."""
        key = self._keys.breaker(account, family)
        self._forget(key)
        wait = _NO_END_SECONDS if seconds is None else seconds
        self._call(key, "open", int(wait * 1000), reason, OPENS_AT)

    def resume(self, account: str, family: str) -> None:
        """Close a breaker, whatever opened it."""
        self._call(self._keys.breaker(account, family), "close")

    def take_probe(self, account: str, family: str) -> Probe | None:
        """The right to send one batch through a half-open breaker, unless somebody has it."""
        token = uuid4().hex
        key = self._keys.breaker(account, family)
        if not self._call(key, "probe", token, int(PROBE_LASTS_SECONDS * 1000)):
            return None
        return Probe(account, family, token)

    def give_back(self, probe: Probe) -> None:
        """The probe is over; needless where its answer has decided already."""
        self._call(self._keys.breaker(probe.account, probe.family), "unprobe", probe.token)

    def _forget(self, key: str) -> None:
        with self._guard:
            self._noted.pop(key, None)

    def _call(self, key: str, *arguments: Any) -> Any:
        return self._run(keys=[key], args=arguments)


class Probe(Struct, frozen=True):
    """The right to send one batch through a half-open breaker.

    Attributes:
        account, family: whose breaker.
        token: tells this holder from all others.
    """

    account: str
    family: str
    token: str


def family_of(lane: str) -> str:
    """The family of endpoints that a lane uses."""
    return lane.partition(":")[0]


def _age(began: float) -> int:
    return int((time.monotonic() - began) * 1000)


def _state(now: float, stored: list[bytes | None]) -> BreakerState:
    failures, until, probe_until, succeeded, reason, since, paused = stored
    return BreakerState(
        now=now,
        failures=int(failures or 0),
        until=float(until or 0) / 1000,
        probe_until=float(probe_until or 0) / 1000,
        succeeded=float(succeeded or 0) / 1000,
        reason=(reason or b"").decode(),
        since=float(since or 0) / 1000,
        paused=float(paused or 0) / 1000,
    )
