"""Judging what an answer says of Klaviyo as a whole, before anything is said of a command. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from klaviyo_relay_worker.errors import AnswerLostError, TransportError
from klaviyo_relay_worker.klaviyo.exchange import Answer
from klaviyo_relay_worker.outcome import Effect, Reason, Snooze
from klaviyo_relay_worker.retry import after_throttling, backoff, retry_after

# How soon a paused account is tried again with one real command.
PROBE_SECONDS = 60.0
# Of the 4xx these speak of commands: 400, 404, 409 and 413 by Klaviyo's guide to errors
# (developers.klaviyo.com), 422 by its meaning in HTTP (RFC 9110). The other ones speak of the key,
# the revision or the endpoint.
_ABOUT_COMMANDS = frozenset((400, 404, 409, 413, 422))
# What stands between us and Klaviyo has given up waiting, or lost the connection (RFC 9110; 520 to
# 524 are Cloudflare's).
_OF_THE_EDGE = frozenset((502, 504, 520, 521, 522, 523, 524))


def interruption(answer: Answer, failures: int, random: Callable[[], float]) -> Snooze | None:
    """Why the lane must wait after this answer, or None if it speaks of the commands.

    Args:
        answer: Klaviyo's.
        failures: outages of this lane in a row so far.
        random: gives numbers in [0, 1).
    """
    status = answer.status
    if _is_about_commands(answer):
        return None
    told: dict[str, Any] = {"detail": str(status), "status": status, "effect": _effect(status)}
    if status == 429:
        seconds = after_throttling(answer.headers, failures + 1, random)
        # Without a word how long, only growing waits end it.
        is_failure = retry_after(answer.headers) <= 0
        return Snooze(seconds, Reason.THROTTLED, is_failure=is_failure, **told)
    if status in (401, 403):
        return Snooze(PROBE_SECONDS, Reason.UNAUTHORIZED, **told)
    if 400 <= status < 500 and status != 408:
        # 405, 410, 415: a retired revision or endpoint. No command is to blame, and none is lost.
        return Snooze(PROBE_SECONDS, Reason.MISCONFIGURED, is_failure=True, **told)
    return Snooze(backoff(failures + 1, random()), Reason.OUTAGE, is_failure=True, **told)


def _is_about_commands(answer: Answer) -> bool:
    """Whether it is Klaviyo's own word on the commands, and no page of something in between."""
    if answer.is_accepted:
        return not answer.body or answer.body.lstrip().startswith(b"{")
    if answer.status == 404:  # also what a wrong KLAVIYO_API_URL brings about
        document = answer.document()
        return isinstance(document, dict) and bool(document.get("errors"))
    return answer.status in _ABOUT_COMMANDS


def _effect(status: int) -> Effect:
    """A server error says nothing of what was done before it; an edge's, not even that it ended."""
    if 300 <= status < 500:
        return Effect.NONE
    if status < 300:  # a page that is not Klaviyo's; what stands behind it may have the request
        return Effect.OPEN
    return Effect.OPEN if status in _OF_THE_EDGE else Effect.ENDED


def no_answer(error: TransportError, failures: int, random: Callable[[], float]) -> Snooze:
    """Why the lane must wait after a request without an answer."""
    is_lost = isinstance(error, AnswerLostError)
    told: dict[str, Any] = {
        "detail": "answer lost" if is_lost else "not reached",
        "effect": Effect.OPEN if is_lost else Effect.NONE,
    }
    return Snooze(backoff(failures + 1, random()), Reason.OUTAGE, is_failure=True, **told)
