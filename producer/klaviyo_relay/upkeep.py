"""What a process's own spool file needs whether or not anything can be shipped."""

from __future__ import annotations

import logging

from klaviyo_relay.complaints import saying
from klaviyo_relay.spool import OwnSpool

logger = logging.getLogger("klaviyo_relay.shipper")

# Commits between two checkpoints of the write-ahead log: some 10 to 20 MB of it, if they are small.
CHECKPOINT_ROWS = 5_000
CHECKPOINT_BYTES = 16_000_000


class Upkeep:
    """Keeps the log of one file short, and the file where it belongs."""

    def __init__(self, spool: OwnSpool) -> None:
        self._spool = spool
        # As of the last checkpoint, or since the log began anew.
        self._row = 0
        self._log_bytes = 0

    def keep(self) -> None:
        """Do what is due. Costs a look at two files if nothing is.

        Raises:
            OSError, sqlite3.OperationalError: the disk takes no more.
            sqlite3.DatabaseError: the file is damaged.
        """
        if self._spool.restore():
            with saying():
                logger.error(
                    "the spool file %s was removed while it was in use, and is written anew;"
                    " it holds what Redis has not got yet: leave it to klaviyo-relay",
                    self._spool.path,
                )
        log_bytes = self._spool.log_bytes()
        self._log_bytes = min(self._log_bytes, log_bytes)
        rows = self._spool.last_row - self._row
        if rows >= CHECKPOINT_ROWS or log_bytes - self._log_bytes >= CHECKPOINT_BYTES:
            self._row += rows
            self._spool.checkpoint()
            self._log_bytes = self._spool.log_bytes()
