"""The wire format: what travels from a producer through spool and lane to a worker.

An envelope is one JSON object. Both sides of the wire ship in one distribution, and a worker reads
every schema version up to its own, so workers are upgraded before producers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from klaviyo_relay.commands import (
    AddToList,
    Command,
    CreateList,
    DeleteList,
    DeleteProfile,
    Identify,
    RemoveFromList,
    RenameList,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
    Unsuppress,
)
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.validation import COMMAND_MAX_BYTES, PROFILE_MAX_BYTES, json_size

SCHEMA_VERSION = 1
DEFAULT_ACCOUNT = "default"
# The first digit of an id's random part says 10 in its upper bits (RFC 9562, variant).
_VARIANT = {f"{digit:x}": "89ab"[digit & 3] for digit in range(16)}
BULK_SUFFIX = ":bulk"
# Lanes that have a low-priority twin for batch loads; consent and privacy never wait behind one.
LANES_WITH_BULK = ("events", "profiles", "lists")
LANES = (
    "consent",
    "privacy",
    "events",
    "profiles",
    "lists",
    "events:bulk",
    "profiles:bulk",
    "lists:bulk",
)


class ReceivedTrack(Command, frozen=True, kw_only=True, tag="track", gc=False):
    """A track as a worker reads it: not checked again, and its properties stay the JSON they are.

    Taking them apart and putting them together again would be most of the work of a delivery.
    """

    lane = "events"

    metric: str
    email: str | None = None
    phone_number: str | None = None
    external_id: str | None = None
    profile_id: str | None = None
    anonymous_id: str | None = None
    properties: msgspec.Raw = msgspec.Raw(b"{}")
    value: int | float | None = None
    value_currency: str | None = None
    time: str | None = None
    unique_id: str | None = None
    backfill: bool | None = None

    def __post_init__(self) -> None:
        """Nothing: it was checked at the call."""


OtherCommand = (
    Identify
    | AddToList
    | RemoveFromList
    | CreateList
    | RenameList
    | DeleteList
    | Subscribe
    | Unsubscribe
    | Suppress
    | Unsuppress
    | DeleteProfile
)
AnyCommand = TypeVar("AnyCommand")


class Envelope(
    msgspec.Struct,
    Generic[AnyCommand],
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """A command with what delivery needs to know of it.

    Attributes:
        id: the command's id, a UUIDv7; fixed at enqueue, the same in every attempt. It must stay
            the first field: `scripts/ids.lua` and the worker's `explain` read it from the first
            bytes of a message, without taking the rest apart.
        account: name of the Klaviyo account.
        at: when it was enqueued, milliseconds since 1970.
        command: what is asked.
        v: schema version.
        trace: W3C traceparent of the caller, if it had one.
    """

    id: str
    account: str
    at: int
    command: AnyCommand
    # By a factory, so that it stands on the wire though it is the default.
    v: int = msgspec.field(default_factory=lambda: SCHEMA_VERSION)
    trace: str | None = None

    @property
    def enqueued_at(self) -> datetime:
        """`at` as a moment in UTC."""
        return datetime.fromtimestamp(self.at / 1000, UTC)

    def __repr__(self) -> str:
        """Id and kind; the command's values are private."""
        return f"<Envelope {self.id} of {self.command!r}>"


_encode = msgspec.json.Encoder().encode
Sent = Envelope[Track | OtherCommand]
Received = Envelope[ReceivedTrack | OtherCommand]
AnyEnvelope = TypeVar("AnyEnvelope", Sent, Received)
_decode = msgspec.json.Decoder(Sent).decode
_receive = msgspec.json.Decoder(Received).decode


def new_id() -> str:
    """A UUIDv7 (RFC 9562): sorted by time to a quarter of a microsecond, 62 bits random.

    The randomness comes from the kernel at each call, so forked processes never share it.
    """
    return new_ids(1)[0]


def new_ids(count: int) -> list[str]:
    """So many ids of this moment; of a batch they cost a sixth of what they cost one by one."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    time_digits = f"{milliseconds:012x}"
    head = f"{time_digits[:8]}-{time_digits[8:]}-7{rest * 4096 // 1_000_000:03x}-"
    digits = os.urandom(8 * count).hex()
    return [
        f"{head}{_VARIANT[digits[at]]}{digits[at + 1 : at + 4]}-{digits[at + 4 : at + 16]}"
        for at in range(0, 16 * count, 16)
    ]


def wrap(
    command: Command, identity: str, account: str, at: int, trace: str | None, *, bulk: bool = False
) -> tuple[str, bytes]:
    """Put a command into its envelope, and name its lane.

    Args:
        command: what is asked.
        identity: the command's id.
        account: name of the Klaviyo account.
        at: when it was asked, milliseconds since 1970.
        trace: W3C traceparent of the caller, if it has one.
        bulk: for the low-priority lane, where there is one.

    Returns:
        The lane's name, `account:lane`, and the envelope as JSON.

    Raises:
        InvalidCommandError: it is no command, or larger than Klaviyo takes.
    """
    if not isinstance(command, Command):
        raise InvalidCommandError("command", f"must be a command, not {type(command).__name__}")
    envelope = Envelope(id=identity, account=account, at=at, command=command, trace=trace)
    lane = lane_of(command, bulk=True) if bulk else command.lane
    return f"{account}:{lane}", encode(envelope)


def encode(envelope: Envelope[Any]) -> bytes:
    """The envelope as compact JSON.

    Raises:
        InvalidCommandError: the command is larger than Klaviyo takes.
    """
    message = _encode(envelope)
    if len(message) > PROFILE_MAX_BYTES:
        _check_size(envelope.command, len(message))
    return message


def decode(message: bytes) -> Sent:
    """The envelope of a message, checked as strictly as at the call.

    Raises:
        msgspec.DecodeError: it is not an envelope of a version that this release reads.
    """
    return _checked(_decode, message)


def receive(message: bytes) -> Received:
    """The envelope of a message, as a worker needs it.

    Raises:
        msgspec.DecodeError: it is not an envelope of a version that this release reads.
    """
    return _checked(_receive, message)


def _checked(read: Callable[[bytes], AnyEnvelope], message: bytes) -> AnyEnvelope:
    try:
        envelope = read(message)
    except RecursionError:
        raise msgspec.ValidationError("nested without end") from None
    check_version(envelope)
    return envelope


def check_version(envelope: Envelope[Any]) -> None:
    """A newer release may mean something else by the same members.

    Raises:
        msgspec.ValidationError: the envelope is of a version that this release does not read.
    """
    if envelope.v > SCHEMA_VERSION:
        raise msgspec.ValidationError(f"schema version {envelope.v} needs a newer worker")


def lane_of(command: Command, *, bulk: bool = False) -> str:
    """The lane that delivers a command: its own, or its low-priority twin where there is one."""
    if bulk and command.lane in LANES_WITH_BULK:
        return command.lane + BULK_SUFFIX
    return command.lane


def _check_size(command: Command, size: int) -> None:
    most = COMMAND_MAX_BYTES if isinstance(command, Track) else PROFILE_MAX_BYTES
    json_size(type(command).__name__.lower(), size, most)
