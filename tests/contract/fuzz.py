# ruff: noqa: E501, RUF001, PLR0911 - odd inputs read best as rows, and odd characters are theirs
"""Fuzz the producer's validation: what it accepts, the sandbox must accept too.

    python tests/contract/fuzz.py --count 1000000 --seed 1

Every input is either refused with InvalidCommandError that names a field, or it becomes a command
that survives the wire and that the sandbox takes, sent as the worker would send it. Anything else
is printed with its input and the seed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import requests

from klaviyo_relay.calls import commands_of
from klaviyo_relay.commands import VERBS, Command, Identify, Subscribe, Unsubscribe
from klaviyo_relay.envelope import Envelope, decode, encode, new_id, receive
from klaviyo_relay.errors import InvalidCommandError
from klaviyo_relay_worker.klaviyo.exchange import Request
from klaviyo_relay_worker.plan import consent, events, privacy, profiles
from klaviyo_relay_worker.plan.batch import Entry, Part, identities
from klaviyo_relay_worker.sandbox import Sandbox

BATCH = 100
TEXTS = (
    "", " ", "a", "\x00", "\n", "Ada", "é" * 5, "\ud800", "x" * 127, "x" * 128, "x" * 255,
    "x" * 256, "y" * 100_000, "ü" * 50_001, "once", "null", "0", "😀", "\u202e", "a\u0000b", "$value",
    "<script>", "' OR 1=1 --", "first_name", "location", "properties",
)  # fmt: skip
EMAILS = (
    "ada@lovelace.dev", "Ada.Lovelace+1@mail.lovelace.co.uk", "a@b", "a@b.c", "@b.dev", "a@", "a b@c.dev",
    "a..b@c.dev", ".a@c.dev", "a.@c.dev", "a@-c.dev", "a@c-.dev", "a@c..dev", "a@[1.2.3.4]", "ä@ö.de",
    "a@b.dev,c@d.dev", "a@b.123", "a@b.d1", "a\n@b.dev", "a@b.dev\n", "x" * 90 + "@b.dev", "x" * 94 + "@b.dev",
    "o'brien@b.dev", "a_b-c@d-e.fr", "(a)@b.dev", '"a"@b.dev', "a@b.xn--p1ai", "a%b@c.dev", "a@b_c.dev",
)  # fmt: skip
PHONES = ("+15005550006", "15005550006", "+0123456", "+1", "+１２３４５６７８９", "+1 500 555", "+123456789012345", "+1234567890123456")  # fmt: skip
MOMENTS = (
    datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1), datetime(1989, 1, 1, tzinfo=UTC),  # noqa: DTZ001 - what is refused
    datetime(1990, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
    "2026-01-01T00:00:00Z", "2026-01-01", "2026-W01-1", "20260101T000000Z", "yesterday", 1_700_000_000, 1.7e9, True,
    "2026-01-01T00:00:00+25:00", "2026-01-01T24:00:00Z", date(2026, 1, 1),
)  # fmt: skip
NUMBERS = (0, -1, 1.5, 1e308, float("nan"), float("inf"), 2**63, 2**63 - 1, -(2**63), Decimal("9.99"),
           Decimal("NaN"), Decimal("1e400"), True, "3", None, 10**400)  # fmt: skip
LISTS = ("Y6nRLr", "y6nrl", "Y6nRLrX", "Y6nRL!", "", "VIP", "ＡＢＣＤＥＦ")
OTHERS = (
    b"bytes",
    {1, 2},
    frozenset(),
    object(),
    [],
    {},
    (),
    range(3),
    UUID(int=7),
    date(2026, 1, 1),
    int,
    ...,
)


class Inputs:
    """Random arguments, from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._by_field: dict[str, Callable[[], Any]] = {
            "email": lambda: self._of(EMAILS),
            "phone_number": lambda: self._of(PHONES),
            "time": lambda: self._of(MOMENTS),
            "consented_at": lambda: self._of(MOMENTS),
            "value": lambda: self._of(NUMBERS),
            "value_currency": lambda: self._of(("USD", "EUR", "usd", "US", "USDX", "ＵＳＤ")),
            "list_id": lambda: self._of(LISTS),
            "properties": self._object,
            "location": self._location,
            "append": self._object,
            "unappend": self._object,
            "profile": self._profile,
            "unset": lambda: [self._of(TEXTS) for _ in range(self.random.randrange(3))],
            "channels": lambda: self._of((["email"], ["sms"], ("email", "sms"), ["fax"], [], "email", ["email", "email"])),
            "backfill": lambda: self._of((True, False, 1, "yes")),
            "opt_in_process": lambda: self._of(("single_opt_in", "double_opt_in", "triple")),
        }  # fmt: skip

    def make(self) -> tuple[str, dict[str, Any]]:
        verb = self._of(tuple(VERBS))
        fields = [*VERBS[verb].__struct_fields__, *(["profile"] if verb == "track" else [])]
        arguments = {name: self._value(name) for name in fields if self.random.random() < 0.4}
        if self.random.random() < 0.8 and "email" in fields:
            arguments["email"] = self._of(EMAILS[:2] if self.random.random() < 0.7 else EMAILS)
        if "metric" in fields and self.random.random() < 0.8:
            arguments["metric"] = "Placed Order"
        if self.random.random() < 0.02:
            arguments[self._of(("emial", "", "class", "self", "\ud800"))] = 1
        return verb, arguments

    def _of(self, values: Any) -> Any:
        return self.random.choice(values)

    def _value(self, name: str) -> Any:
        if self.random.random() < 0.1:
            return self._of(OTHERS)
        if self.random.random() < 0.1:
            return None
        return self._by_field.get(name, lambda: self._of(TEXTS))()

    def _object(self, levels: int = 3) -> Any:
        size = self.random.choice((0, 1, 2, 3, 3, 5, 400, 401)) if levels == 3 else 2
        if size >= 400 and self.random.random() < 0.97:
            size = 4
        return {self._key(at): self._member(levels) for at in range(size)}

    def _key(self, at: int) -> Any:
        roll = self.random.random()
        return at if roll < 0.02 else self._of(TEXTS) if roll < 0.3 else f"key{at}"

    def _member(self, levels: int) -> Any:
        roll = self.random.random()
        if levels and roll < 0.15:
            return self._object(levels - 1)
        if levels and roll < 0.3:
            return [self._member(levels - 1) for _ in range(self.random.randrange(4))]
        if roll < 0.32:
            return self._deep(self.random.randrange(8, 13))
        return self._of((TEXTS, NUMBERS, MOMENTS, OTHERS, EMAILS)[self.random.randrange(5)])

    def _deep(self, levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = {"in": value} if self.random.random() < 0.5 else [value]
        return value

    def _location(self) -> Any:
        names = ("city", "country", "zip", "latitude", "longitude", "ip", "planet")
        return {self._of(names): self._of((*TEXTS[:8], *NUMBERS[:4], None)) for _ in range(3)}

    def _profile(self) -> Any:
        names = ("first_name", "location", "properties", "email", "age", "unset")
        return {name: self._value(name) for name in names if self.random.random() < 0.3}


class Delivered:
    """Sends what was accepted to a sandbox, as the worker would, a kind at a time."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._session = requests.Session()
        self._session.headers.update(
            {"Authorization": "Klaviyo-API-Key pk_fuzz", "revision": "2026-07-15", "content-type": "application/json"}
        )  # fmt: skip
        self._waiting: dict[Any, list[Part]] = {}
        self.refused: list[str] = []

    def add(self, envelope: Any, size: int) -> None:
        entry = Entry(envelope.id, envelope, size)
        builder = self._builder(envelope.command)
        if builder is None:
            return
        waiting = self._waiting.setdefault(builder, [])
        taken = {who for part in waiting for who in identities(part.command)}
        if len(waiting) == BATCH or (
            builder[0] != "event" and not taken.isdisjoint(entry.identities)
        ):
            self.flush(builder)
            waiting = self._waiting.setdefault(builder, [])
        waiting.append(Part.of(entry))

    def _builder(self, command: Any) -> tuple[Any, ...] | None:
        name = type(command).__name__
        if name == "ReceivedTrack":
            return ("event", command.unique_id is None or id(command))
        if isinstance(command, Identify):
            return ("profile", id(command) if command.profile_id or command.external_id else 0)
        if isinstance(command, Subscribe):
            return ("subscribe", command.source, command.consented_at is not None)
        if isinstance(command, Unsubscribe):
            return ("unsubscribe",)
        if name in ("Suppress", "Unsuppress"):
            return (name,)
        if name == "DeleteProfile":
            return (name, id(command))
        return None  # commands about lists need lists; their fields are those of others

    def flush_all(self) -> None:
        for builder in list(self._waiting):
            self.flush(builder)

    def flush(self, builder: tuple[Any, ...]) -> None:
        parts = self._waiting.pop(builder, [])
        if parts:
            self._send(builder[0], parts)

    def _send(self, kind: str, parts: list[Part]) -> None:
        if kind == "subscribe":
            # What the sandbox remembers of other inputs is no fault of this one.
            self._sandbox.reset()
        request = self._request(kind, parts)
        answer = self._session.request(request.method, self._sandbox.url + request.path, data=request.body, timeout=60)  # fmt: skip
        unknown = kind in ("DeleteProfile", "profile") and answer.status_code in (404, 409)
        if answer.ok or unknown:
            return
        self.refused.append(f"{kind}: {answer.status_code} {answer.text[:600]}")

    def _request(self, kind: str, parts: list[Part]) -> Request:
        match kind:
            case "event":
                return events.bulk_request(parts)
            case "profile":
                return profiles.single_request(parts[0]) if len(parts) == 1 else profiles.bulk_request(parts)  # fmt: skip
            case "subscribe":
                return consent.subscribe_request(None, parts)
            case "unsubscribe":
                return consent.unsubscribe_request(None, parts)
            case "DeleteProfile":
                return privacy.deletion_request(parts[0].command)
            case _:
                return consent.suppression_request(parts)


def check(inputs: Inputs, delivered: Delivered, seen: Counter[str]) -> str | None:
    """One input; returns what is wrong, or None."""
    verb, arguments = inputs.make()
    try:
        commands = commands_of(verb, arguments)
        for command in commands:
            _over_the_wire(command, delivered)
    except InvalidCommandError as error:
        seen["refused"] += 1
        return None if error.field and error.rule else f"no field: {verb} {arguments!r}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"{type(error).__name__}: {error}: {verb} {arguments!r}"[:2000]
    seen["accepted"] += 1
    return None


def _over_the_wire(command: Command, delivered: Delivered) -> None:
    at = time.time_ns() // 1_000_000
    message = encode(Envelope(id=new_id(), account="default", at=at, command=command))
    decode(message)
    delivered.add(receive(message), len(message))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/contract/fuzz.py")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seen: Counter[str] = Counter()
    faults: list[str] = []
    with Sandbox(limits=False) as sandbox:
        inputs, delivered = Inputs(options.seed), Delivered(sandbox)
        for number in range(options.count):
            fault = check(inputs, delivered, seen)
            if fault:
                faults.append(f"input {number}: {fault}")
            if number % 20_000 == 0:
                sandbox.reset()
        delivered.flush_all()
        faults += delivered.refused
    said = f"seed {options.seed}: {options.count:,} inputs, {dict(seen)}, {len(faults)} faults"
    sys.stdout.write("\n  ".join([said, *faults[:20]]) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
