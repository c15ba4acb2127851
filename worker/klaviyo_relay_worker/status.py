"""Status: what is where, counted, so that anyone can check that nothing is lost.

    accepted = delivered + dead + dropped + discarded + backlog + parked + following + lost

Each lane is read in one step, so its numbers belong to one instant. `lost` is what the equation
leaves over, and `surplus` what is there without having been accepted; both must be 0. Where the
numbers add up, the fingerprints of the stored ids must do so, too (see `fingerprints`): if they do
not, at least one command is lost and another one there twice.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from redis import Redis

from klaviyo_relay.keys import Keys, split
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.scripts import script_of
from klaviyo_relay.settings import Settings
from klaviyo_relay.spool import LOCK_SUFFIX, Orphan, SpoolLock, spool_paths
from klaviyo_relay_worker.breaker import PERSON, Breakers, family_of
from klaviyo_relay_worker.fingerprints import Auditor, expected
from klaviyo_relay_worker.outcome import Reason

# Of so many stored commands and bytes the ids are looked at in the same step; it takes Redis some
# 15 ms. Of more only with an audit.
IDS_MOST, BYTES_MOST = 5_000, 8_000_000


class Status:
    """Reads the lanes of one Redis.

    Args:
        ids_most: of a lane with more stored commands only the counts are looked at. Defaults to
            IDS_MOST.
    """

    def __init__(self, redis: Redis, keys: Keys, *, ids_most: int | None = None) -> None:
        self._redis = redis
        self._keys = keys
        self._ids_most = ids_most
        self._breakers = Breakers(redis, keys)
        self._read: Any = redis.register_script(script_of("klaviyo_relay_worker", "status"))
        self._auditor = Auditor(redis)

    def lanes(self) -> list[str]:
        """The names of all lanes that ever had a command."""
        names: Any = self._redis.smembers(self._keys.register)
        return sorted(name.decode() for name in names)

    def report(self, *, audits: bool = False) -> dict[str, Any]:
        """Accounts, lanes, `lost` and `surplus`, as `klaviyo-relay status --json` prints them.

        Args:
            audits: look at the ids of large lanes, too, page by page.
        """
        accounts: dict[str, Any] = {}
        for name in self.lanes():
            account, lane = split(name)
            accounts.setdefault(account, {"lanes": {}})["lanes"][lane] = self.lane(
                account, lane, audits=audits
            )
        lanes = [lane for one in accounts.values() for lane in one["lanes"].values()]
        totals = {name: sum(lane[name] for lane in lanes) for name in ("lost", "surplus")}
        return {"accounts": accounts, **totals}

    def lane(self, account: str, lane: str, *, audits: bool = False) -> dict[str, Any]:
        """The numbers of one lane."""
        keys = self._keys.lane(account, lane)
        backlog, pairs, parked, dead, first, state, has_planner, following, stored = self._read(
            keys=[
                keys.stream,
                keys.counts,
                keys.parked,
                keys.dead,
                keys.state,
                keys.lease,
                keys.following,
                keys.rows,
            ],
            args=[IDS_MOST if self._ids_most is None else self._ids_most, BYTES_MOST],
        )
        counts = {k.decode(): int(v) for k, v in _pairs(pairs).items()}
        waiting = {k.decode(): v.decode() for k, v in _pairs(state).items()}
        by_rule = {k[8:]: n for k, n in counts.items() if k.startswith("dropped:")}
        report = {
            "accepted": counts.get("accepted", 0),
            "delivered": counts.get("delivered", 0),
            "dead": dead,
            "dropped": sum(by_rule.values()),
            "discarded": counts.get("discarded", 0),
            "backlog": backlog,
            "parked": parked,
            "following": following,
            "oldest_seconds": _age(first),
            **self._breaker(account, lane, waiting),
            "dropped_by_rule": by_rule,
            "in_delivery": bool(has_planner),
        }
        places = ("delivered", "dead", "dropped", "discarded", "backlog", "parked", "following")
        missing = report["accepted"] - sum(report[place] for place in places)
        differs = None
        if stored:
            differs = int(stored) != expected(counts)
        elif audits:
            differs = self._auditor.differs(keys)
        return report | _verdict(missing, differs=differs, audits=audits)

    def _breaker(self, account: str, lane: str, state: dict[str, str]) -> dict[str, Any]:
        """The breaker, whether the lane is paused and why, and what it waits for."""
        whole, own = self._breakers.look(account, family_of(lane))
        why = PERSON if "paused" in state else whole.reason or own.reason
        waits_for = why or _waits_for(state, own.now)
        if not waits_for and own.word != "closed":
            waits_for = Reason.OUTAGE
        return {
            "breaker": own.word,
            "paused": bool(why),
            "paused_because": why,
            "waits_for": waits_for,
        }


def spool_report(settings: Settings, entrance: LaneEntrance | None) -> dict[str, int]:
    """Commands on this machine's disk that Redis has not got, and files whose process is dead.

    Args:
        entrance: tells how far each file is shipped; without one every row counts.
    """
    pending = orphans = 0
    for path in spool_paths(settings.spool_directory, settings.digest):
        lock = SpoolLock.take(path.with_suffix(LOCK_SUFFIX))
        try:
            orphan = Orphan(path, lock)
        except sqlite3.DatabaseError:
            if lock is not None:
                lock.release()
            orphans += 1
            continue
        left = 0
        try:
            for lane, newest in orphan.spool.lanes().items():
                mark = entrance.mark(lane, orphan.spool.source) if entrance else 0
                left += orphan.spool.count(lane, mark, newest)
        finally:
            orphan.close()
        orphans += orphan.is_dead and left > 0
        pending += left
    return {"pending": pending, "orphans": orphans}


def _verdict(missing: int, *, differs: bool | None, audits: bool) -> dict[str, Any]:
    """`lost` and `surplus`, and what that was checked by: ids, or counts alone."""
    is_exchanged = missing == 0 and bool(differs)
    unchecked = "busy" if audits else "counts"
    return {
        "lost": max(missing, 0) + is_exchanged,
        "surplus": max(-missing, 0) + is_exchanged,
        "checked": unchecked if differs is None else "ids",
    }


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _age(first: bytes) -> float:
    """Age of the oldest entry, in seconds, by the time in its id."""
    if not first:
        return 0.0
    return round(max(0.0, time.time() - int(first.partition(b"-")[0]) / 1000), 1)


def _waits_for(state: dict[str, str], now: float) -> str:
    return state.get("reason", "") if float(state.get("until", 0)) > now else ""
