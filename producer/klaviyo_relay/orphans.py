"""Orphans: spool files whose processes are dead, or frozen, are shipped by whoever finds them."""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from klaviyo_relay.complaints import Complaints, saying
from klaviyo_relay.errors import RelayError
from klaviyo_relay.found_spool import FoundSpool, locked
from klaviyo_relay.lane_entrance import LaneEntrance, batches
from klaviyo_relay.salvage import salvage
from klaviyo_relay.settings import Settings
from klaviyo_relay.shipment import RESHIP_SECONDS, FileShipment, by_lane
from klaviyo_relay.spool import SpoolLock, files_of, milliseconds, source_of, spool_paths

logger = logging.getLogger("klaviyo_relay.shipper")

# A live process whose oldest row waits longer than this is taken for frozen; others ship for it.
FROZEN_SECONDS = 30.0


def ship_orphans(
    entrance: LaneEntrance,
    settings: Settings,
    besides: str = "",
    complaints: Complaints | None = None,
) -> int:
    """Ship what processes that are dead or frozen have left; returns how many files were looked at.

    A dead process's file is removed once its rows have been in Redis for the re-ship window.

    Args:
        entrance: of the lanes.
        settings: say where the files are.
        besides: the source of the caller's own file.
        complaints: when to say what cannot be shipped. Defaults to now.

    Raises:
        redis.RedisError: Redis does not answer.
    """
    files, troubles = 0, []
    for path in spool_paths(settings.spool_directory, settings.digest):
        if source_of(path) != besides:
            try:
                with locked(path) as lock:
                    files += _ship_orphan(entrance, path, lock)
            except (OSError, RelayError, sqlite3.Error) as error:  # no reason to leave the others
                troubles.append((path, error))
    if troubles and (complaints or Complaints()).is_due():
        for path, why in troubles:
            with saying():
                logger.warning("the spool file %s cannot be shipped now: %s", path, why)
    return files


def _ship_orphan(entrance: LaneEntrance, path: Path, lock: SpoolLock | None) -> bool:
    """Ship a file as far as it is ours to ship; returns whether it could be opened."""
    is_open = False
    try:
        with closing(FoundSpool(path, lock)) as found:
            is_open = True
            _ship_found(entrance, found)
    except FileNotFoundError:
        return False
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, UnicodeError) as error:
        if lock is not None:
            _ship_damaged(entrance, path, lock, error)
    return is_open


def _ship_found(entrance: LaneEntrance, found: FoundSpool) -> None:
    shipment = FileShipment(found.spool)
    shipment.restart(entrance)
    if found.is_dead or _is_frozen(entrance, found):
        while shipment.ship_some(entrance):
            pass
        if shipment.refusal:
            raise shipment.refusal
    if found.is_dead and _is_over(entrance, found):
        found.remove()


def _is_frozen(entrance: LaneEntrance, found: FoundSpool) -> bool:
    """Whether the file's oldest unshipped row has waited so long that its owner cannot be well."""
    source = found.spool.source
    for name in found.spool.lanes():
        since = found.spool.oldest_at(name, entrance.mark(name, source))
        if since is not None and milliseconds() - since > FROZEN_SECONDS * 1000:
            return True
    return False


def _is_over(entrance: LaneEntrance, found: FoundSpool) -> bool:
    """Whether Redis has had every row for the re-ship window, by Redis's own clock.

    And for as long as its replicas are behind.
    """
    now = entrance.now()
    window = max(RESHIP_SECONDS, time.monotonic() - entrance.replicated_until())
    for name, newest in found.spool.lanes().items():
        mark = entrance.dated_mark(name, found.spool.source)
        if mark.number < newest or now - mark.at <= window:
            return False
    return True


def _ship_damaged(entrance: LaneEntrance, path: Path, lock: SpoolLock, error: Exception) -> None:
    """Ship what can be read of a dead process's damaged file, and set the file aside for people."""
    found = salvage(path)
    for lane, group in by_lane(found.rows):
        for batch in batches([(number, message) for number, _, message in group]):
            entrance.ship(lane, source_of(path), batch)
    for file in files_of(path):
        if file.exists():
            file.rename(file.with_name(f"{file.name}.corrupt"))
    lock.path.unlink(missing_ok=True)
    with saying():
        logger.error(
            "the spool file %s is damaged (%s): %d commands were read and shipped, at least %d"
            " could not be read; kept as %s.corrupt",
            path,
            error,
            len(found.rows),
            found.unreadable,
            path.name,
        )
