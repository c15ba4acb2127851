"""A person's pauses: stop deliveries of an account or a lane; let them go on."""

from __future__ import annotations

from redis import Redis

from klaviyo_relay.keys import Keys, split
from klaviyo_relay_worker.breaker import PERSON, WHOLE_ACCOUNT, Breakers, family_of
from klaviyo_relay_worker.errors import UnknownLaneError
from klaviyo_relay_worker.lane import Lane
from klaviyo_relay_worker.status import Status


class Pauses:
    """Pauses of one Redis."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._breakers = Breakers(redis, keys)
        self._status = Status(redis, keys)

    def pause(self, account: str, lane: str | None = None) -> None:
        """Deliver nothing of an account, or of one of its lanes, until somebody says resume.

        Raises:
            UnknownLaneError: there is no such account or lane.
        """
        lanes = self._lanes(account, lane)
        if lane is None:
            self._breakers.pause(account, WHOLE_ACCOUNT, PERSON)
        else:
            lanes[0].pause()

    def resume(self, account: str, lane: str | None = None) -> None:
        """Go on delivering: ends every pause, Klaviyo's or a person's, and every wait.

        Raises:
            UnknownLaneError: there is no such account or lane.
        """
        lanes = self._lanes(account, lane)
        self._breakers.resume(account, WHOLE_ACCOUNT)
        for one in lanes:
            self._breakers.resume(account, family_of(one.lane))
            one.resume()

    def _lanes(self, account: str, lane: str | None) -> list[Lane]:
        names = [split(name) for name in self._status.lanes()]
        found = [own for of, own in names if of == account]
        if not found:
            raise UnknownLaneError(f"no command has come in for the account {account} yet")
        if lane is not None and lane not in found:
            raise UnknownLaneError(f"{account} has no lane {lane}; it has {', '.join(found)}")
        wanted = [lane] if lane else found
        return [Lane(self._redis, self._keys, account, name) for name in wanted]
