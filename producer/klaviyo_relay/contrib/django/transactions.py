"""Verbs that wait for the commit of the surrounding transaction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connections, transaction

from klaviyo_relay.producer import Producer, own

if TYPE_CHECKING:
    from klaviyo_relay.settings import Settings
    from klaviyo_relay.shipper import Flushed


class OnCommit(Producer):
    """A producer that stores by way of the process's own, after the commit.

    `enqueue_many` alone does not wait: it is for batch jobs, and waits for Redis already.

    Args:
        using: the database alias whose transaction counts. Defaults to Django's default.
    """

    def __init__(self, using: str | None = None) -> None:
        super().__init__()
        self._using = using

    @property
    def settings(self) -> Settings:
        """Those of the process's own producer."""
        return own.settings

    def flush(self, timeout: float = 5.0) -> Flushed:
        """As `klaviyo_relay.flush`; what waits for a commit is not stored yet."""
        return own.flush(timeout)

    def close(self, timeout: float | None = None) -> Flushed:
        """As `klaviyo_relay.close`."""
        return own.close(timeout)

    def store(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool) -> None:
        """Store the rows after the commit, or at once where no transaction is open."""
        store = partial(own.store, rows, full=full)
        connection = transaction.get_connection(self._using)
        # Asked of the connection, for transaction.on_commit connects where nothing is open yet:
        # then a verb would wait for the database, and fail with it.
        is_manual = connection.connection is not None and not connection.autocommit
        if connection.in_atomic_block or is_manual:
            connection.on_commit(store)
        else:
            store()


@cache
def using(alias: str | None) -> OnCommit:
    """The verbs for the transactions of a database alias: `using("orders").track(…)`."""
    return OnCommit(alias)


def waiting_for_commit() -> int:
    """How many on_commit functions, of whomever, wait in this thread's open transactions."""
    if not settings.configured:  # Django is only imported, by whomever: there is no database
        return 0
    return sum(len(found.run_on_commit) for found in connections.all(initialized_only=True))
