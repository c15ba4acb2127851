"""`klaviyo-relay explain`: where one command is, and what happened to it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
import msgspec

from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay_worker import explanation
from klaviyo_relay_worker.cli.plain_text import plain, plain_json
from klaviyo_relay_worker.explain import BEFORE_MOST, Explainer
from klaviyo_relay_worker.explanation import UNREAD_VERB, Explanation, Note, Place, Record
from klaviyo_relay_worker.outcome import Failure

_SHIPPED = {
    True: "shipped; Redis has it, too",
    False: "not shipped yet",
    None: "shipped or not: only Redis knows",
}


@click.command()
@click.argument("identity", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="one JSON document")
@click.option("--payload", "with_payload", is_flag=True, help="the command itself, too; private")
def explain(identity: str, as_json: bool, with_payload: bool) -> None:  # noqa: FBT001 - click passes flags by name
    r"""Where a command is and what happened to it, by its id.

    Looks into this machine's spool, all lanes and their journals; without Redis only into the
    spool.
    Exit code 1 if nothing is known of it.

    \b
    Example:
      klaviyo-relay explain 019a9c1e-7a52-7c3f-9d0e-5b1f0a6c2d34
    """
    settings = Settings.from_env()
    explainer = Explainer(connect(settings.redis_url), settings, with_payload=with_payload)
    found = explainer.explain(identity)
    if as_json:
        click.echo(plain_json(msgspec.json.encode(found)))
    else:
        click.echo("\n".join(map(plain, _lines(found, settings))))
    raise SystemExit(0 if found.is_known else 1)


def _lines(found: Explanation, settings: Settings) -> Iterator[str]:
    yield found.id + (f"  enqueued {_time(found.enqueued_at)}" if found.enqueued_at else "")
    for record in found.journal:
        yield f"{_time(record.at)}  {record.lane}  {_event(record)}"
    yield from _now(found)
    if found.created_list:
        yield f"the list is {found.created_list}"
    if not found.is_known:
        yield f"not found in {found.spool_files} spool files in {settings.spool_directory}"
        if found.unreadable_files:
            yield f"{found.unreadable_files} more may not be opened: ask as the user who made them"
        yield from _unknown_lanes(found)
    if found.redis:
        yield f"Redis was not asked ({masked(settings.redis_url)}): {found.redis}"


def _now(found: Explanation) -> Iterator[str]:
    """Where it is, or that it is nowhere any more."""
    for place in found.places:
        yield f"now  {place.lane}  {place.verb} {_where(place)}{_unread(place)}{_state(place)}"
        if place.payload is not None:
            yield bytes(place.payload).decode()
    if found.journal and not found.places:
        yield "now  nowhere: it is settled" if _is_settled(found) else "now  nowhere; see `status`"


def _is_settled(found: Explanation) -> bool:
    return found.journal[-1].what in ("delivered", "dropped", "discarded")


def _unknown_lanes(found: Explanation) -> Iterator[str]:
    for lane, since in found.lanes.items():
        told = f"its journal goes back to {_time(since)}" if since else "its journal is empty"
        yield f"not found in {lane}; {told}"


def _event(record: Record) -> str:
    note, others = record.note, f" (with {record.others:,} others)" if record.others else ""
    rule = f" by the rule {note.rule}: {record.meaning or 'unknown to this release'}"
    words = {
        "dropped": rule,
        "parked": f" because of {note.reason}{_answer(note)}",
        "following": f" the import job {note.job}{_answer(note)}",
        "dead": f" as {note.code or 'refused'}{_answer(note)}",
    }
    return record.what + words.get(record.what, _answer(note)) + others


def _answer(note: Note) -> str:
    status = f", status {note.status}" if note.status else ""
    attempts = f", attempt {note.attempts}" if note.attempts else ""
    return (f" by {note.endpoint}" if note.endpoint else "") + status + attempts


def _where(place: Place) -> str:
    since = _time(place.since)
    match place:
        case explanation.InSpool():
            orphan = ", its process has ended" if place.is_orphaned else ""
            file = f"{place.file}, row {place.row}{orphan}"
            return f"in the spool since {since}: {file}; {_SHIPPED[place.is_shipped]}"
        case explanation.InBacklog():
            before = f"more than {BEFORE_MOST:,}" if place.before is None else f"{place.before:,}"
            return f"in the backlog since {since}, {before} before it"
        case explanation.Waiting():
            until = f"parked since {since} until {_time(place.until)}"
            return f"{until} because of {place.reason}, after {place.attempts} attempts"
        case explanation.InJob():
            row = "a row" if place.row is None else f"row {place.row}"
            job = f"{row} of the import job {place.job} since {since}"
            return f"{job}; next look {_time(place.until)}"
        case explanation.Letter():
            return f"dead since {since}, after {place.attempts} attempts: {_words(place.failure)}"
    raise TypeError(place)


def _unread(place: Place) -> str:
    # A dead letter tells by its code, and another release may have buried it.
    is_unread = place.verb == UNREAD_VERB and not isinstance(place, explanation.Letter)
    return "; this release cannot read it" if is_unread else ""


def _words(failure: Failure) -> str:
    """Klaviyo's own."""
    words = (str(failure.status or ""), failure.code, failure.title, failure.detail)
    pointer = f" ({failure.pointer})" if failure.pointer else ""
    return " · ".join(word for word in words if word) + pointer


def _state(place: Place) -> str:
    state: dict[str, Any] = place.state or {}
    if state.get("paused_because"):
        return f"; the lane is paused: {state['paused_because']}"
    if state.get("waits_for"):
        return f"; the lane waits: {state['waits_for']} (breaker {state['breaker']})"
    return ""


def _time(moment: datetime | None) -> str:
    return "?" if moment is None else moment.isoformat(timespec="milliseconds")
