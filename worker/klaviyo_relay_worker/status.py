"""Status: what is where, counted, so that anyone can check that nothing is lost.

    accepted = delivered + dead + dropped + discarded + backlog + parked + following + lost

Each lane is read in one step, so its numbers belong to one instant. `lost` is what the equation
leaves over, and `surplus` what is there without having been accepted; both must be 0. Where the
numbers add up, the fingerprints of the stored ids must do so, too (see `fingerprints`): if they do
not, at least one command is lost and another one there twice.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from msgspec import Struct
from redis import Redis

from klaviyo_relay.found_spool import opened
from klaviyo_relay.keys import Keys, LaneKeys, split
from klaviyo_relay.marks import Marks
from klaviyo_relay.scripts import script_of
from klaviyo_relay.settings import Settings
from klaviyo_relay.spool import spool_paths
from klaviyo_relay_worker.breaker import PERSON, Breakers, BreakerState, family_of
from klaviyo_relay_worker.fingerprints import Auditor, expected
from klaviyo_relay_worker.outcome import Reason
from klaviyo_relay_worker.waits import snooze_left

# Of so many stored commands and bytes the ids are looked at in the same step; it takes Redis some
# 15 ms. Of more only with an audit.
IDS_MOST, BYTES_MOST = 5_000, 8_000_000
# The doorbell's sweep finds any work within a second; a busy worker comes within this.
UNSERVED_SECONDS = 60.0
_PLACES = ("delivered", "dead", "dropped", "discarded", "backlog", "parked", "following")


class _Reading(Struct):
    """What status.lua tells of a lane, in its order."""

    backlog: int
    counts: list[bytes]
    parked: int
    dead: int
    first: bytes
    state: list[bytes]
    has_planner: int
    following: int
    stored_ids: bytes


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
        """The numbers of one lane: commands, and `oldest_seconds` by Redis's clock."""
        keys = self._keys.lane(account, lane)
        reading = self._look(keys)
        whole, own = self._breakers.look(account, family_of(lane))
        counts = {k.decode(): int(v) for k, v in _pairs(reading.counts).items()}
        waiting = {k.decode(): v.decode() for k, v in _pairs(reading.state).items()}
        by_rule = {k[8:]: n for k, n in counts.items() if k.startswith("dropped:")}
        report = {
            "accepted": counts.get("accepted", 0),
            "delivered": counts.get("delivered", 0),
            "dead": reading.dead,
            "dropped": sum(by_rule.values()),
            "discarded": counts.get("discarded", 0),
            "backlog": reading.backlog,
            "parked": reading.parked,
            "following": reading.following,
            "oldest_seconds": _age(reading.first, own.now),
            **_breaker(whole, own, waiting),
            "dropped_by_rule": by_rule,
            "in_delivery": bool(reading.has_planner),
        }
        missing = report["accepted"] - sum(report[place] for place in _PLACES)
        differs = self._differs(keys, reading, counts, audits=audits)
        return report | _verdict(missing, differs=differs, audits=audits)

    def _look(self, keys: LaneKeys) -> _Reading:
        """A lane at one instant."""
        most = IDS_MOST if self._ids_most is None else self._ids_most
        names = (
            keys.stream, keys.counts, keys.parked, keys.dead,
            keys.state, keys.lease, keys.following, keys.rows,
        )  # fmt: skip
        return _Reading(*self._read(keys=names, args=[most, BYTES_MOST]))

    def _differs(
        self, keys: LaneKeys, reading: _Reading, counts: dict[str, int], *, audits: bool
    ) -> bool | None:
        """Whether other ids are stored than should be; None if nobody has looked."""
        if reading.stored_ids:
            return int(reading.stored_ids) != expected(counts)
        return self._auditor.differs(keys) if audits else None


def _breaker(whole: BreakerState, own: BreakerState, state: dict[str, str]) -> dict[str, Any]:
    """The breaker, whether the lane is paused and why, and what it waits for."""
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


def state_of(numbers: dict[str, Any]) -> tuple[str, str]:
    """A word for what a lane does, and why; from its numbers.

    Returns:
        paused, waits, delivering, ready (a backlog that a worker is about to come for), unserved
        (none has come within a minute) or idle; and for the first two the reason, else "".
    """
    if numbers["paused"]:
        return "paused", numbers["paused_because"]
    if numbers["waits_for"]:
        return "waits", numbers["waits_for"]
    if numbers["in_delivery"]:
        return "delivering", ""
    if not numbers["backlog"]:
        return "idle", ""
    return ("unserved" if numbers["oldest_seconds"] > UNSERVED_SECONDS else "ready"), ""


def spool_report(settings: Settings, marks: Marks | None) -> dict[str, int]:
    """Commands on this machine's disk that Redis has not got, and files whose process is dead.

    And files that may not be opened, since another user's process has made them.

    Args:
        marks: tell how far each file is shipped; without them every row counts.
    """
    pending = orphans = unreadable = 0
    for path in spool_paths(settings.spool_directory, settings.digest):
        try:
            with opened(path) as found:
                left = found.unshipped(marks)
                orphans += found.is_dead and left > 0
                pending += left
        except FileNotFoundError:  # shipped and removed by somebody else meanwhile
            continue
        except OSError:
            unreadable += 1
        except sqlite3.DatabaseError:
            orphans += 1
    return {"pending": pending, "orphans": orphans, "unreadable": unreadable}


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


def _age(first: bytes, now: float) -> float:
    """Age of the oldest entry, in seconds, by the time in its key; `now` is Redis's, too."""
    if not first:
        return 0.0
    return round(max(0.0, now - int(first.partition(b"-")[0]) / 1000), 1)


def _waits_for(state: dict[str, str], now: float) -> str:
    since, until = float(state.get("since", 0)), float(state.get("until", 0))
    return state.get("reason", "") if snooze_left(since, until, now) else ""
