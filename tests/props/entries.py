"""Commands as they stand in a lane, made without a Redis."""

from __future__ import annotations

from klaviyo_relay.commands import Command
from klaviyo_relay.envelope import Envelope, encode, receive
from klaviyo_relay_worker.plan.batch import Entry

ACCOUNT = "default"


def entry_of(
    command: Command,
    number: int = 1,
    *,
    identity: str = "",
    at: float = 0.0,
    is_parked: bool = False,
    size: int | None = None,
    **more: object,
) -> Entry:
    """An entry whose envelope went over the wire.

    Args:
        command: what was asked for.
        number: of the entry in its stream.
        identity: the command's id; without one it is made of the number.
        at: when the call was, in seconds since 1970.
        is_parked: it stands among the parked commands, not in the stream.
        size: bytes of the message; without one, what it has.
        more: further fields of Entry.
    """
    identity = identity or f"00000000-0000-7000-8000-{number:012d}"
    envelope = Envelope(id=identity, account=ACCOUNT, at=int(at * 1000), command=command)
    message = encode(envelope)
    return Entry(
        key=f"p:{identity}" if is_parked else f"{number}-0",
        envelope=receive(message),
        size=len(message) if size is None else size,
        **more,
    )


def entries_of(*commands: Command, at: float = 0.0) -> list[Entry]:
    """Several, numbered from 1 in their order."""
    return [entry_of(command, number, at=at) for number, command in enumerate(commands, 1)]
