"""The planner's place: takes the lease of a lane, lets a delivery run, and says what comes next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import partial

from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.breaker import WHOLE_ACCOUNT, BreakerState, Probe
from klaviyo_relay_worker.delivery import Delivery
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.journal import JournalRoom
from klaviyo_relay_worker.klaviyo.client import CONNECTIONS, KlaviyoClient
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease, Leases
from klaviyo_relay_worker.outcome import Reason, Snooze
from klaviyo_relay_worker.preparation import Preparation, Terms
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.shares import Senders, Shares
from klaviyo_relay_worker.telemetry.event import Telemetry
from klaviyo_relay_worker.telemetry.log import log
from klaviyo_relay_worker.telemetry.spans import trace
from klaviyo_relay_worker.waits import SNOOZE_MOST_SECONDS

logger = logging.getLogger("klaviyo_relay_worker.planner")

# A client keeps so many connections: one more conversation would open its own for each request.
CONVERSATIONS_MOST = CONNECTIONS


class Planner:
    """Delivers any lane, one turn at a time; shared by all threads of a worker process.

    Args:
        redis: client for lanes, leases and quotas.
        settings: the worker's.
        telemetry: told of every request and settlement. Defaults to logs and traces.

    Attributes:
        leases: all that this process holds.
        turns: what each account may have of this process's threads.
        has_many_accounts: whether there is more than one to share them.
    """

    def __init__(
        self, redis: Redis, settings: WorkerSettings, telemetry: Telemetry | None = None
    ) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._telemetry = telemetry or Telemetry(log, trace)
        self.leases = Leases(redis)
        self._journal_room = JournalRoom(redis, settings.journal_ids)
        self.has_many_accounts = len(settings.api_keys) > 1
        self.turns = Shares(settings.concurrency if self.has_many_accounts else None)
        senders = Shares(CONVERSATIONS_MOST if self.has_many_accounts else None)
        self._senders = Senders(CONVERSATIONS_MOST, senders)
        # Lanes that came while their account had its share, the longest wait first. One that gets
        # lost between two threads is rung for by the next sweep.
        self._turned_away: dict[str, dict[str, None]] = {}
        self._draining = threading.Event()
        self._parked_seconds = settings.parked_seconds
        self.accounts = Accounts(redis, self._keys, settings)
        self._preparation = Preparation(
            redis, self._keys, self.accounts, self._senders, self._telemetry
        )

    def drain(self) -> None:
        """Finish what is in flight and begin nothing new."""
        self._draining.set()

    def close(self) -> None:
        """End the senders, after what is in flight, and close the connections to Klaviyo.

        The heartbeat of the leases ends, too, so nothing here uses the Redis client afterwards. See
        `Leases.close` for how long that waits where Redis is away.
        """
        self._senders.shutdown()
        self.accounts.close()
        self.leases.close()

    def deliver(self, account: str, lane_name: str) -> bool:
        """One turn at a lane.

        Returns:
            Whether there is more to do at once, so that the lane should be rung again.
        """
        if not self.turns.take(account):
            self._turned_away.setdefault(account, {})[lane_name] = None
            return False
        try:
            return self._take_turn(account, lane_name)
        finally:
            self.turns.give_back(account)

    def turned_away(self, account: str) -> list[str]:
        """Lanes of an account that found its share taken and may come again; each is told once."""
        if self.turns.is_full(account):
            return []
        return list(self._turned_away.pop(account, ()))

    def _take_turn(self, account: str, lane_name: str) -> bool:
        room = self._journal_room.bytes()
        tell = partial(self._telemetry.settled, account, lane_name)
        lane = Lane(
            self._redis, self._keys, account, lane_name, journal_bytes=room, on_settled=tell
        )
        client = self._client_for(lane)
        if client is None:
            return False
        lease = self.leases.take(lane.keys.lease)
        if lease is None:
            return False
        try:
            delivery = self._deliver_through_breakers(lane, lease, client)
        except LeaseLostError as error:
            logger.warning("%s", error)
            return False
        except RedisError as error:
            logger.warning("Redis is away in the middle of a delivery of %s: %s", lane.name, error)
            return False
        finally:
            self.leases.release(lease)
        if delivery is None:
            return False
        # Asked after the release: what came in before it was not rung for by its own doorbell.
        return not self._draining.is_set() and delivery.has_more()

    def may_deliver(self, account: str, lane_name: str) -> bool:
        """Whether a delivery of the lane would begin, were there work and a lease for it."""
        if self.turns.is_full(account):
            return False
        return self._client_for(Lane(self._redis, self._keys, account, lane_name)) is not None

    def _client_for(self, lane: Lane) -> KlaviyoClient | None:
        """The account's client, if the lane may deliver now."""
        if self._draining.is_set():
            return None
        state = lane.state()
        states = self.accounts.breakers.look(lane.account, lane.family)
        if state.is_waiting(states[0].now) or any(one.wait_seconds for one in states):
            return None
        return self.accounts.client(lane.account)

    def _deliver_through_breakers(
        self, lane: Lane, lease: Lease, client: KlaviyoClient
    ) -> Delivery | None:
        """Deliver; where a breaker is half-open only as its probe, unless there is one already."""
        breakers, family = self.accounts.breakers, lane.family
        probes: list[Probe] = []
        try:
            states = breakers.look(lane.account, family)
            for name, state in zip((WHOLE_ACCOUNT, family), states, strict=True):
                if state.needs_probe:
                    probe = breakers.take_probe(lane.account, name)
                    if probe is None:
                        return None
                    probes.append(probe)
            return self._deliver(lane, lease, client, states, is_probe=bool(probes))
        finally:
            for probe in probes:
                breakers.give_back(probe)

    def _deliver(
        self,
        lane: Lane,
        lease: Lease,
        client: KlaviyoClient,
        breakers: Sequence[BreakerState],
        *,
        is_probe: bool,
    ) -> Delivery:
        state = lane.state()
        terms = Terms(
            state=state,
            breaker=breakers[1],
            is_probe=is_probe,
            is_draining=self._draining.is_set,
            is_allowed=lambda: self._client_for(lane) is not None,
            parked_seconds=self._parked_seconds,
            paused_seconds=state.paused_seconds + sum(one.paused_seconds for one in breakers),
        )
        delivery = self._preparation.delivery(lane, lease, client, terms)
        snooze = delivery.run()
        if snooze is not None:
            self._snooze(lane, snooze)
        return delivery

    def _snooze(self, lane: Lane, snooze: Snooze) -> None:
        """The lane waits; but not on its own where a breaker has opened, which may close sooner."""
        states = self.accounts.breakers.look(lane.account, lane.family)
        if not any(one.wait_seconds for one in states):
            now = states[0].now
            until = now + min(snooze.seconds, SNOOZE_MOST_SECONDS)
            # Asked after the turn, in which an answer may have ended the row of failures.
            failures = lane.state().failures + snooze.is_failure
            lane.snooze(now, until, snooze.reason, failures)
        logger.log(
            logging.WARNING if snooze.reason == Reason.OUTAGE else logging.INFO,
            "%s snoozes %.1f s: %s %s",
            lane.name,
            snooze.seconds,
            snooze.reason,
            snooze.detail,
        )
