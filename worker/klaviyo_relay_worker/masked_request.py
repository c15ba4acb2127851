"""The masked request: a command of the Celery door, as Celery tells of it while it is on its way.

Celery's events (Flower, `celery events`), the answers to `celery inspect` and its log lines hold
each task's arguments as a text that its sender has made. A command's arguments are private, so the
worker replaces that text, whoever sent it.
"""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

MASK = "***"


class MaskedRequest(Request):
    """A request whose arguments are for the task alone."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._argsrepr = self._kwargsrepr = MASK
        # What the task itself and Celery's log lines of its end are given.
        self._request_dict.update(argsrepr=MASK, kwargsrepr=MASK)

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - Celery's signature
        """What `celery inspect` shows: never the arguments themselves."""
        return super().info(safe=True)
