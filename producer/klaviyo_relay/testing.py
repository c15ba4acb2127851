"""The testing kit: what the code under test would send is captured, and nothing is sent.

    def test_checkout(relay):                       # pytest; the plugin comes with the package
        checkout(cart)
        relay.assert_tracked("Placed Order", email="ada@lovelace.dev", value=23.99)

    with capture() as relay: ...                    # anywhere

    class CheckoutTest(CaptureMixin, TestCase):     # unittest, Django: self.relay
        ...

While a capture is active, no producer of this process opens a spool or connects to Redis; commands
are checked as in production. A capture sees the commands of all threads; of nested captures only
the innermost does. What a thread sends after the end of the capture is no longer held back: set
pytest's option klaviyo_relay_capture, which captures from the first line of the run to the last.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from klaviyo_relay import sinks
from klaviyo_relay.commands import (
    CHECK_OF_FIELD,
    KINDS,
    AddToList,
    Command,
    Identify,
    RemoveFromList,
    Subscribe,
    Track,
    Unsubscribe,
)
from klaviyo_relay.envelope import DEFAULT_ACCOUNT, decode
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay.lane_entrance import Shipped, Survey

if TYPE_CHECKING:
    from unittest import TestCase, TestResult

    from klaviyo_relay.shipper import Flushed
else:
    TestCase = object

_Kind = TypeVar("_Kind", bound=Command)
_SHOWN_MOST = 20
_guard = threading.Lock()
_active: list[_Diversion] = []


class Captured(NamedTuple):
    """A command with what travels beside it.

    Attributes:
        id: what the verb returned.
        account: name of the Klaviyo account.
        lane: where it would have gone, such as "events" or, from `enqueue_many`, "events:bulk".
        at: the moment of the call, in UTC.
        command: the command, in wire form: times are ISO 8601 strings, a Decimal is a float.
    """

    id: str
    account: str
    lane: str
    at: datetime
    command: Command


class Capture:
    """What was captured, and assertions about it.

    An assertion compares only the fields that it names; each of them in full, so `properties=` is
    all of the properties. Expected values may be given as to the verb itself (datetime, Decimal),
    or be anything with an `==` of its own, such as `unittest.mock.ANY` or `pytest.approx`. None
    says that the field must not be given. `account=` is compared like a field. All raise
    AssertionError, and TypeError for a field that the command does not have.
    """

    def __init__(self) -> None:
        self._captured: list[Captured] = []

    def __repr__(self) -> str:
        return f"<Capture of {len(self._captured)} commands>"

    @property
    def captured(self) -> list[Captured]:
        """All that was captured, in the order of the calls."""
        return list(self._captured)

    @property
    def commands(self) -> list[Command]:
        """The commands alone, in the order of the calls."""
        return [found.command for found in self._captured]

    def clear(self) -> None:
        """Forget what was captured so far."""
        self._captured.clear()

    def assert_tracked(self, metric: str, *, count: int | None = None, **fields: Any) -> Track:
        """An event of this metric was tracked.

        Args:
            metric: its name.
            count: exactly so many times. Defaults to at least once.
            fields: what else `Track` must hold: email=, value=, properties= …

        Returns:
            The last one that fits, for a closer look.
        """
        __tracebackhide__ = True
        return self.assert_sent(Track, count=count, metric=metric, **fields)

    def assert_not_tracked(self, metric: str, **fields: Any) -> None:
        """No event of this metric, with these fields, was tracked."""
        __tracebackhide__ = True
        self.assert_not_sent(Track, metric=metric, **fields)

    def assert_identified(self, *, count: int | None = None, **fields: Any) -> Identify:
        """A profile was identified; `track(profile=…)` does that too."""
        __tracebackhide__ = True
        return self.assert_sent(Identify, count=count, **fields)

    def assert_added_to_list(
        self, list_id: str | EllipsisType = ..., *, count: int | None = None, **fields: Any
    ) -> AddToList:
        """A profile was added to the list, or to any list where neither id nor list_name= say."""
        __tracebackhide__ = True
        return self.assert_sent(AddToList, count=count, **_on_list(list_id), **fields)

    def assert_removed_from_list(
        self, list_id: str | EllipsisType = ..., *, count: int | None = None, **fields: Any
    ) -> RemoveFromList:
        """A profile was removed from the list."""
        __tracebackhide__ = True
        return self.assert_sent(RemoveFromList, count=count, **_on_list(list_id), **fields)

    def assert_subscribed(
        self, list_id: str | EllipsisType | None = ..., *, count: int | None = None, **fields: Any
    ) -> Subscribe:
        """A person was subscribed: to this list, with None to the account, else to either."""
        __tracebackhide__ = True
        return self.assert_sent(Subscribe, count=count, **_on_list(list_id), **fields)

    def assert_unsubscribed(
        self, list_id: str | EllipsisType | None = ..., *, count: int | None = None, **fields: Any
    ) -> Unsubscribe:
        """A person was unsubscribed: from this list, with None from all, else from either."""
        __tracebackhide__ = True
        return self.assert_sent(Unsubscribe, count=count, **_on_list(list_id), **fields)

    def assert_sent(self, kind: type[_Kind], *, count: int | None = None, **fields: Any) -> _Kind:
        """A command of any kind was sent: `assert_sent(Suppress, email=…)`.

        Args:
            kind: such as `klaviyo_relay.DeleteProfile`.
            count: exactly so many times, at least 1. Defaults to at least once.
            fields: what it must hold.

        Returns:
            The last one that fits.
        """
        __tracebackhide__ = True
        expected = _expected(kind, fields)
        fitting = self._fitting(kind, expected)
        if not fitting or count not in (None, len(fitting)):
            raise AssertionError(self._report(kind, expected, len(fitting), count))
        return fitting[-1]

    def assert_not_sent(self, kind: type[Command], **fields: Any) -> None:
        """No command of this kind, with these fields, was sent."""
        __tracebackhide__ = True
        expected = _expected(kind, fields)
        if fitting := self._fitting(kind, expected):
            what = _call(kind, expected)
            raise AssertionError(f"{len(fitting)} captured fit {what}, expected none{self._list()}")

    def assert_nothing_sent(self) -> None:
        """No command at all was sent."""
        __tracebackhide__ = True
        if self._captured:
            raise AssertionError(f"expected nothing to be sent{self._list()}")

    def store(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Take what a producer would write to its spool."""
        self._captured += [_captured(lane, message) for lane, _, message in rows]

    def _fitting(self, kind: type[_Kind], expected: dict[str, Any]) -> list[_Kind]:
        return [
            found.command
            for found in self._captured
            if type(found.command) is kind and not _differing(found, expected)
        ]

    def _report(
        self, kind: type[Command], expected: dict[str, Any], found: int, count: int | None
    ) -> str:
        what = _call(kind, expected)
        if count is not None and found:
            return f"expected {count} x {what}, captured {found}{self._list()}"
        lines = [f"nothing captured fits {what}"]
        same_kind = [one for one in self._captured if type(one.command) is kind]
        if same_kind:
            nearest = min(reversed(same_kind), key=lambda one: len(_differing(one, expected)))
            lines.append(f"nearest is {_shown(nearest)}:")
            for name in _differing(nearest, expected):
                was = _value(nearest, name)
                lines.append(f"  {name}: expected {expected[name]!r}, was {was!r}")
        return "\n".join(lines) + self._list()

    def _list(self) -> str:
        """All that was captured, for the end of a message."""
        lines = [f"\ncaptured in all: {len(self._captured) or 'nothing'}"]
        numbered = list(enumerate(self._captured, 1))
        if len(numbered) > _SHOWN_MOST:
            lines.append(f"  … {len(numbered) - _SHOWN_MOST} more before")
        lines += [f"  {number}. {_shown(one)}" for number, one in numbered[-_SHOWN_MOST:]]
        if waiting := _waiting_for_commit():
            lines.append(
                f"{waiting} on_commit functions wait for the end of a Django transaction; TestCase"
                " never commits: use captureOnCommitCallbacks(execute=True)"
            )
        return "\n".join(lines)


class _Discard(Capture):
    """Holds everything back and keeps nothing."""

    def store(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Drop the rows."""


class _Diversion:
    """Hands to a capture what producers make (see `sinks.Sink`)."""

    def __init__(self, into: Capture) -> None:
        self._into = into
        self._marks: dict[tuple[str, str], int] = {}

    def store(self, rows: Sequence[tuple[str, int, bytes]], *, full: bool) -> None:  # noqa: ARG002 - a disk's
        self._into.store(rows)

    def entrance(self) -> _Entrance:
        return _Entrance(self._into, self._marks)

    def flush(self, timeout: float) -> Flushed:  # noqa: ARG002 - nothing to wait for
        from klaviyo_relay.shipper import Flushed

        return Flushed(0)

    def created_list(self, account: str, command_id: str, timeout: float) -> str | None:  # noqa: ARG002 - no list is made
        return None


class _Entrance:
    """Stands in for the entrance of the lanes: takes each (source, number) once, is never full."""

    def __init__(self, into: Capture, marks: dict[tuple[str, str], int]) -> None:
        self._into = into
        self._marks = marks

    def survey(self) -> Survey:
        return Survey("capture", is_full=False)

    def mark(self, lane: str, source: str) -> int:
        return self._marks.get((lane, source), 0)

    def ship(
        self, lane: str, source: str, numbered: Sequence[tuple[int, bytes]], left_at: int = 0
    ) -> Shipped:
        mark = self._marks.get((lane, source), left_at)
        new = [(lane, 0, message) for number, message in numbered if number > mark]
        self._into.store(new)
        self._marks[lane, source] = mark = max(mark, numbered[-1][0])
        return Shipped(len(new), mark)

    def close(self) -> None:
        pass


@contextmanager
def capture(*, keep: bool = True) -> Iterator[Capture]:
    """Hold back all commands of this process while the block runs.

    Args:
        keep: False only holds back, and forgets: for whole test runs.

    Yields:
        What was captured; it may still be read after the block.
    """
    found = Capture() if keep else _Discard()
    diversion = _Diversion(found)
    with _guard:
        _active.append(diversion)
        sinks.diversion = diversion
    try:
        yield found
    finally:
        with _guard:
            # Not always the last: captures in threads end in any order.
            _active[:] = [other for other in _active if other is not diversion]
            sinks.diversion = _active[-1] if _active else None


class CaptureMixin(TestCase):
    """For unittest: `class CheckoutTest(CaptureMixin, TestCase)`; each test finds `self.relay`.

    The capture spans setUp, the test, tearDown and the clean-ups.
    """

    relay: Capture

    def run(self, result: TestResult | None = None) -> TestResult | None:
        """Run the test in a capture of its own."""
        with capture() as self.relay:
            return super().run(result)


def _captured(lane: str, message: bytes) -> Captured:
    envelope = decode(message)
    name = lane.partition(":")[2]
    return Captured(envelope.id, envelope.account, name, envelope.enqueued_at, envelope.command)


def _on_list(list_id: str | EllipsisType | None) -> dict[str, Any]:
    return {} if isinstance(list_id, EllipsisType) else {"list_id": list_id}


def _expected(kind: type[Command], fields: dict[str, Any]) -> dict[str, Any]:
    """The fields in wire form where they have one.

    Raises:
        TypeError: `kind` is no command, or has no such field.
    """
    if kind not in KINDS:
        raise TypeError(f"{kind!r} is no kind of command, such as klaviyo_relay.Track")
    known = (*kind.__struct_fields__, "account")
    for name in fields:
        if name not in known:
            more = "; it is captured as an Identify" if name == "profile" else ""
            raise TypeError(f"{kind.__name__} has no {name}{more}; it has {', '.join(known)}")
    return {name: _in_wire_form(name, value) for name, value in fields.items()}


def _in_wire_form(name: str, value: Any) -> Any:
    if value is None or name not in CHECK_OF_FIELD:
        return value
    try:
        return CHECK_OF_FIELD[name](name, value)
    except InvalidCommandError:
        return value  # a matcher such as mock.ANY; or what no command can hold, so nothing fits


def _value(found: Captured, name: str) -> Any:
    return found.account if name == "account" else getattr(found.command, name)


def _differing(found: Captured, expected: dict[str, Any]) -> list[str]:
    # The expected one first: its == may be a matcher's.
    return [name for name, value in expected.items() if not value == _value(found, name)]  # noqa: SIM201 - it may have no !=


def _call(kind: type[Command], fields: dict[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    return f"{kind.__struct_config__.tag}({given})"


def _shown(found: Captured) -> str:
    names = found.command.__struct_fields__
    fields = {name: getattr(found.command, name) for name in names}
    given = {name: value for name, value in fields.items() if value is not None}
    if found.account != DEFAULT_ACCOUNT:
        given["account"] = found.account
    return _call(type(found.command), given)


def _waiting_for_commit() -> int:
    # Only where it is in use: importing it needs Django.
    integration = sys.modules.get("klaviyo_relay.contrib.django")
    return integration.waiting_for_commit() if integration is not None else 0
