"""The planner's place: takes the lease of a lane, lets a delivery run, and says what comes next."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay_worker.accounts import Accounts
from klaviyo_relay_worker.admission import admission_of
from klaviyo_relay_worker.courier import Courier
from klaviyo_relay_worker.delivery import Delivery
from klaviyo_relay_worker.errors import LeaseLostError
from klaviyo_relay_worker.judge import OUTAGE
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.lease import Lease, Leases
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.telemetry import Telemetry

logger = logging.getLogger("klaviyo_relay_worker.planner")

CONVERSATIONS_MOST = 64


class Planner:
    """Delivers any lane, one turn at a time; shared by all threads of a worker process.

    Args:
        redis: client for lanes, leases and quotas.
        settings: the worker's.
        telemetry: told of every request.
    """

    def __init__(
        self, redis: Redis, settings: WorkerSettings, telemetry: Telemetry | None = None
    ) -> None:
        self._redis = redis
        self._keys = settings.keys
        self._telemetry = telemetry or Telemetry()
        self._leases = Leases(redis)
        self._executor = ThreadPoolExecutor(CONVERSATIONS_MOST, "klaviyo-relay-send")
        self._draining = threading.Event()
        self.accounts = Accounts(redis, self._keys, settings)

    def drain(self) -> None:
        """Finish what is in flight and begin nothing new."""
        self._draining.set()

    def deliver(self, account: str, lane_name: str) -> bool:
        """One turn at a lane.

        Returns:
            Whether there is more to do at once, so that the lane should be rung again.
        """
        lane = Lane(self._redis, self._keys, account, lane_name)
        client = self._admit(lane)
        if client is None:
            return False
        lease = self._leases.take(lane.keys.lease)
        if lease is None:
            return False
        try:
            delivery = self._deliver(lane, lease, client)
        except LeaseLostError as error:
            logger.warning("%s", error)
            return False
        except RedisError as error:
            logger.warning("Redis is away in the middle of a delivery of %s: %s", lane.name, error)
            return False
        finally:
            self._leases.release(lease)
        # Asked after the release: what came in before it was not rung for by its own doorbell.
        return not self._draining.is_set() and delivery.has_more()

    def _admit(self, lane: Lane) -> KlaviyoClient | None:
        """The account's client, if the lane may deliver now."""
        state = lane.state()
        now = time.time()
        if self._draining.is_set() or state.is_paused or state.until > now:
            return None
        if self.accounts.paused_until(lane.account) > now:
            return None
        return self.accounts.client(lane.account)

    def _deliver(self, lane: Lane, lease: Lease, client: KlaviyoClient) -> Delivery:
        failures = lane.state().failures
        courier = Courier(
            client,
            self.accounts.quota,
            self._telemetry,
            lane,
            lease,
            failures=failures,
        )
        delivery = Delivery(
            lane,
            lease,
            courier,
            self.accounts,
            self._executor,
            admission=admission_of(
                self._redis, self._keys, lane.account, lane.lane, self.accounts.lists
            ),
            is_draining=self._draining.is_set,
        )
        snooze = delivery.run()
        if snooze is not None:
            lane.snooze(time.time() + snooze.seconds, snooze.reason, failures + snooze.is_failure)
            level = logging.WARNING if snooze.reason == OUTAGE else logging.INFO
            logger.log(
                level,
                "%s snoozes %.1f s: %s %s",
                lane.name,
                snooze.seconds,
                snooze.reason,
                snooze.detail,
            )
        return delivery
