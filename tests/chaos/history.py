"""What the sandbox did, played back from its record, as a list of effects in their order.

The record is run through the sandbox's own operations once more, with a store that tells what is
applied when: so the rows of import jobs stand where their job was done, not where it was queued.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from klaviyo_relay_worker.sandbox.ledger import NewEvent
from klaviyo_relay_worker.sandbox.people import Patch, Profile, Who
from klaviyo_relay_worker.sandbox.processing import replay_line
from klaviyo_relay_worker.sandbox.recording import Processed, lines
from klaviyo_relay_worker.sandbox.settings import Settings
from klaviyo_relay_worker.sandbox.state import State
from klaviyo_relay_worker.sandbox.store import Store

_SEED = 7
SUBSCRIBE = "/api/profile-subscription-bulk-create-jobs"
UNSUBSCRIBE = "/api/profile-subscription-bulk-delete-jobs"
SUPPRESS = "/api/profile-suppression-bulk-create-jobs"
UNSUPPRESS = "/api/profile-suppression-bulk-delete-jobs"
_CONSENT = {
    SUBSCRIBE: "subscribe",
    UNSUBSCRIBE: "unsubscribe",
    SUPPRESS: "suppress",
    UNSUPPRESS: "unsuppress",
}


class Effect(Struct, frozen=True, kw_only=True):
    """One thing that happened at Klaviyo.

    Attributes:
        number: of the record's line, from 0, so that evidence can be looked up.
        at: seconds since 1970.
        kind: event, profile, list, or a verb of consent, lists and privacy.
        person: e-mail address, or "".
        keys: of the commands, as far as they travel.
        is_new: false for an event that was discarded as a repeat.
    """

    number: int
    at: float
    kind: str
    person: str
    keys: tuple[str, ...] = ()
    is_new: bool = True
    step: int = 0
    list_id: str | None = None
    channels: tuple[str, ...] = ()
    name: str = ""


class RequestLine(Struct, frozen=True, array_like=True):
    """A line of the sandbox's request log; see its `journal.Entry`."""

    monotonic: float
    received: float
    method: str
    endpoint: str
    status: str
    items: int
    body_bytes: int
    by_rule: bool
    detail: str


class History(Struct, frozen=True):
    """The effects in order, and the account as it is at the end."""

    effects: list[Effect]
    profiles: dict[str, dict[str, Any]]
    """By e-mail address."""
    lists: list[dict[str, str]]
    global_unsubscribes: int

    @classmethod
    def of(cls, path: Path) -> History:
        """Play a record back."""
        state = State(Settings(), lambda: 0.0, _SEED)
        watch = _Watch()
        state.store = _WatchedStore(state, watch)
        for number, line in enumerate(lines(path)):
            # By the machine's clock, as the producers noted their times.
            watch.number, watch.at = number, line.at - state.clock.offset_seconds
            replay_line(state, line)
            if isinstance(line, Processed):
                watch.effects += _told_by_body(line, watch, state.store)
        state.store.hold_jobs(hold=False)
        state.store.jobs.finish_due(math.inf)
        profiles = state.profiles()
        return cls(
            watch.effects,
            {str(one["email"]): one for one in profiles},
            [{"id": one.id, "name": one.name} for one in state.store.lists],
            state.store.tally.global_unsubscribes,
        )


class _Watch:
    def __init__(self) -> None:
        self.effects: list[Effect] = []
        self.number = 0
        self.at = 0.0

    def saw(self, kind: str, person: str, **more: Any) -> None:
        self.effects.append(
            Effect(number=self.number, at=self.at, kind=kind, person=person, **more)
        )


class _WatchedStore(Store):
    """Tells what is done to profiles and events."""

    def __init__(self, state: State, watch: _Watch) -> None:
        self._watch = watch
        super().__init__(state.clock, _SEED)

    def upsert(
        self, who: Who, patch: Patch, now: float, *, clear_nulls: bool
    ) -> tuple[Profile, bool]:
        """As the sandbox, and tell."""
        done = super().upsert(who, patch, now, clear_nulls=clear_nulls)
        given = patch.attributes.get("properties") or {}
        keys = tuple(name for name in given if name != "step")
        appended = patch.append.get("tags") or []
        keys += tuple(appended if isinstance(appended, list) else [appended])
        self._watch.saw("profile", done[0].email or "", keys=keys, step=int(given.get("step", 0)))
        return done

    def record(self, profile: Profile, event: NewEvent, now: float) -> bool:
        """As the sandbox, and tell."""
        is_new = super().record(profile, event, now)
        key = str(msgspec.json.decode(event.properties).get("key", ""))
        self._watch.saw("event", profile.email or "", keys=(key,), is_new=is_new)
        return is_new

    def delete(self, profile: Profile) -> None:
        """As the sandbox, and tell."""
        self._watch.saw("delete_profile", profile.email or "")
        super().delete(profile)


def _told_by_body(line: Processed, watch: _Watch, store: Store) -> Iterator[Effect]:
    """Effects that the store does not tell: those on lists and on consent."""
    if line.path in _CONSENT:
        yield from _consents(line, watch)
    elif line.path.startswith("/api/lists"):
        yield from _lists(line, watch, store)


def _consents(line: Processed, watch: _Watch) -> Iterator[Effect]:
    data = msgspec.json.decode(line.body)["data"]
    attributes = data["attributes"]
    listed = data.get("relationships", {}).get("list", {}).get("data", {}).get("id")
    source = attributes.get("custom_source")
    for row in attributes["profiles"]["data"]:
        given = row["attributes"]
        yield Effect(
            number=watch.number,
            at=watch.at,
            kind=_CONSENT[line.path],
            person=given.get("email", ""),
            keys=(source,) if source else (),
            list_id=listed,
            channels=tuple(given.get("subscriptions", ())),
        )


def _lists(line: Processed, watch: _Watch, store: Store) -> Iterator[Effect]:
    parts = line.path.strip("/").split("/")
    body = msgspec.json.decode(line.body) if line.body else {}
    if parts[-1] == "profiles":
        kind = {"POST": "add_to_list", "DELETE": "remove_from_list"}[line.method]
        for one in body["data"]:
            profile = store.people.get(one["id"])
            person = (profile.email if profile else "") or ""
            yield Effect(
                number=watch.number, at=watch.at, kind=kind, person=person, list_id=parts[2]
            )
        return
    kind = {"POST": "create_list", "PATCH": "rename_list", "DELETE": "delete_list"}[line.method]
    name = str(body.get("data", {}).get("attributes", {}).get("name", ""))
    listed = parts[2] if len(parts) > 2 else None
    yield Effect(number=watch.number, at=watch.at, kind=kind, person="", name=name, list_id=listed)


def journal_lines(path: Path) -> Iterator[dict[str, Any]]:
    """What a producer noted; a last line that was cut off is none."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield msgspec.json.decode(line)


def request_lines(path: Path) -> Iterator[RequestLine]:
    """The requests that the sandbox got."""
    decode = msgspec.json.Decoder(RequestLine).decode
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield decode(line)
