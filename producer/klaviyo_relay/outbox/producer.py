"""The producer's verbs, writing rows of the application's transaction instead of a spool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from klaviyo_relay import validation
from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import DEFAULT_ACCOUNT, new_id, wrap
from klaviyo_relay.errors import NotInAnOutboxError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.trace_context import current_trace
from klaviyo_relay.verbs import Verbs

if TYPE_CHECKING:
    from klaviyo_relay.batch import Enqueued

CHUNK_COMMANDS = 500
_ANOTHER_THREAD = (
    "an outbox writes in the caller's transaction, not in a thread; use the plain verb"
)


class OutboxRow(NamedTuple):
    """What is stored of one command.

    Attributes:
        lane: the lane's name, `account:lane`.
        at: when the verb was called, milliseconds since 1970.
        command_id: the command's id, which the verb returns; for people who look for it.
        message: the envelope as JSON.
    """

    lane: str
    at: int
    command_id: str
    message: bytes


class OutboxProducer(Verbs):
    """All verbs; each writes its rows by `write`, in the order of the calls.

    A verb raises `InvalidCommandError` as ever, or what the database raises. It takes as long as
    an INSERT.

    Args:
        write: stores rows in the caller's transaction, in their order.
    """

    def __init__(self, write: Callable[[Sequence[OutboxRow]], None]) -> None:
        self._write = write

    def enqueue_together(
        self, commands: Sequence[Command], *, account: str = DEFAULT_ACCOUNT
    ) -> list[str]:
        """Store a few commands in the transaction; returns their ids.

        Raises:
            InvalidCommandError: as the verbs; or what the database raises.
        """
        if account is not DEFAULT_ACCOUNT:
            account = validation.account("account", account)
        rows = _rows(commands, account)
        self._write(rows)
        return [row.command_id for row in rows]

    def enqueue_many(
        self,
        commands: Iterable[Command],
        *,
        account: str = DEFAULT_ACCOUNT,
        bulk: bool = True,
        source: str | None = None,
        timeout: float | None = None,
    ) -> Enqueued:
        """Store many commands in the transaction, in INSERTs of some hundred rows.

        Args:
            commands: any iterable; a generator is read as it goes.
            account: name of the Klaviyo account.
            bulk: use the low-priority lanes, so that a load never delays live commands.
            source, timeout: for loads straight into Redis only; here the transaction decides what
                is stored, and nothing waits for Redis.

        Returns:
            How many commands were given; all of them were added.

        Raises:
            InvalidCommandError: a command in the iterable. Roll back, or those before it stay.
            TypeError: `source` or `timeout` was given.
        """
        import_whole("klaviyo_relay.batch")
        from klaviyo_relay.batch import Enqueued

        if source is not None or timeout is not None:
            raise TypeError("source and timeout are for loads straight into Redis, not an outbox")
        account = validation.account("account", account)
        remaining, given = iter(commands), 0
        while chunk := list(islice(remaining, CHUNK_COMMANDS)):
            self._write(_rows(chunk, account, bulk=bulk))
            given += len(chunk)
        return Enqueued(given, given)

    def flush(self, timeout: float = 5.0) -> NoReturn:  # noqa: ARG002 - as a producer's
        """Refused: what is not committed cannot be shipped, and the relay ships the rest.

        Raises:
            NotInAnOutboxError: always.
        """
        raise NotInAnOutboxError("an outbox is shipped by OutboxShipper, after the commit")

    def created_list(
        self,
        command_id: str,  # noqa: ARG002 - as a producer's
        *,
        account: str = DEFAULT_ACCOUNT,  # noqa: ARG002 - as above
        timeout: float = 0.0,  # noqa: ARG002 - as above
    ) -> NoReturn:
        """Refused: what is not committed is not delivered; ask a `Producer` after the commit.

        Raises:
            NotInAnOutboxError: always.
        """
        raise NotInAnOutboxError("a list is created after the commit; ask klaviyo_relay then")

    async def unsubscribe_async(self, *_: Any, **__: Any) -> NoReturn:
        """Refused: another thread's connection would be another transaction.

        Raises:
            NotInAnOutboxError: always.
        """
        raise NotInAnOutboxError(_ANOTHER_THREAD)

    async def delete_profile_async(self, *_: Any, **__: Any) -> NoReturn:
        """Refused, as `unsubscribe_async`.

        Raises:
            NotInAnOutboxError: always.
        """
        raise NotInAnOutboxError(_ANOTHER_THREAD)


def _rows(commands: Iterable[Command], account: str, *, bulk: bool = False) -> list[OutboxRow]:
    at, trace = time.time_ns() // 1_000_000, current_trace()
    rows = []
    for command in commands:
        identity = new_id()
        lane, message = wrap(command, identity, account, at, trace, bulk=bulk)
        rows.append(OutboxRow(lane, at, identity, message))
    return rows
