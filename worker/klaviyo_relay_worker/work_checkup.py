"""The checkup of the work itself: whether somebody delivers, and what stands still."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.keys import Keys, split
from klaviyo_relay_worker.breaker import PERSON
from klaviyo_relay_worker.finding import Finding
from klaviyo_relay_worker.settlement import read_job
from klaviyo_relay_worker.status import Status

# Work that nothing holds up is taken up within a second or two, and a turn lasts twenty.
STANDS_STILL_SECONDS = 120.0


def check_work(redis: Redis, keys: Keys) -> Iterator[Finding]:
    """Whether workers listen, and each lane's state; nothing where Redis does not answer."""
    try:
        [(_, workers)] = redis.pubsub_numsub(keys.doorbell)
        report = Status(redis, keys).report()
    except RedisError:
        return
    lanes = {
        f"{account}:{name}": lane
        for account, found in sorted(report["accounts"].items())
        for name, lane in sorted(found["lanes"].items())
    }
    yield _workers(int(workers), sum(lane["backlog"] + lane["parked"] for lane in lanes.values()))
    for name, lane in lanes.items():
        yield from _lane(name, lane)
        if lane["following"]:
            yield from _jobs(redis, keys, name)


def _workers(number: int, waiting: int) -> Finding:
    """Each worker's doorbell listens in Redis as long as it lives."""
    if number:
        return Finding("ok", "worker", f"{number} at work")
    text = f"none is connected to this Redis, and {waiting:,} commands wait; start one:"
    return Finding("fault" if waiting else "warning", "worker", f"{text} klaviyo-relay worker")


def _lane(name: str, lane: dict[str, Any]) -> Iterator[Finding]:
    subject = f"lane {name}"
    if lane["lost"] or lane["surplus"]:
        text = f"{lane['lost']} lost and {lane['surplus']} in surplus; please report it"
        yield Finding("fault", subject, text)
    if lane["paused"]:
        text = f"is paused: {lane['paused_because']}; {_mend(name, lane['paused_because'])}"
        yield Finding("warning", subject, text)
    elif _stands_still(lane):
        text = (
            f"{lane['backlog']:,} commands wait, the oldest for {lane['oldest_seconds']:.0f} s, and"
            " nobody delivers them; look at the workers' logs and their keys"
        )
        yield Finding("fault", subject, text)
    if lane["dead"]:
        text = f"{lane['dead']:,} dead letters; see klaviyo-relay dead list --lane {name}"
        yield Finding("warning", subject, text)


def _jobs(redis: Redis, keys: Keys, name: str) -> Iterator[Finding]:
    # One by one: the record of a job has ten thousand rows.
    jobs = redis.hscan_iter(keys.lane(*split(name)).following, count=1)
    try:
        unread = sum(read_job(stored) is None for _, stored in jobs)
    except RedisError:
        return
    if unread:
        text = (
            f"{unread:,} import jobs cannot be read by this release, and their commands wait;"
            " start a worker of the release that wrote them"
        )
        yield Finding("warning", f"lane {name}", text)


def _stands_still(lane: dict[str, Any]) -> bool:
    is_held_up = lane["waits_for"] or lane["in_delivery"] or not lane["backlog"]
    return not is_held_up and lane["oldest_seconds"] > STANDS_STILL_SECONDS


def _mend(name: str, reason: str) -> str:
    account = name.partition(":")[0]
    if reason == PERSON:
        return f"klaviyo-relay resume {account}"
    return f"mend the key of {account} or its scopes, then klaviyo-relay resume {account}"
