"""The form of the process's log lines: for people, or one JSON object a line.

All lines take this way, Celery's, redis-py's and Python's own warnings as well: whoever logs does
it with `logging`, and structlog's formatter renders what was said. Keys of a JSON line:

    timestamp   ISO 8601 in UTC
    level       debug, info, warning, error or critical
    logger      name of the logger
    event       the text; of a canonical event its name, with its fields beside it (see `log`)
    exception   a traceback, without the values of variables

No value can break out of its line: JSON escapes, and in the other form control characters are
escaped here, but for the line feeds of a traceback, whose lines are all indented.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog
from structlog.types import EventDict, Processor

from klaviyo_relay_worker.telemetry import log

Form = Literal["console", "json"]

logger = logging.getLogger("klaviyo_relay_worker.log")

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS_BUT_LINE_FEED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def form_for(stream: TextIO) -> Form:
    """The form that suits: people read terminals, machines the rest."""
    return "console" if stream.isatty() else "json"


def configure(form: Form, level: str, stream: TextIO) -> None:
    """Give this process's log lines their form, from now on and whoever writes them."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(form, has_colours=stream.isatty()))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_last_words
    threading.excepthook = _log_end_of_thread


def _formatter(form: Form, *, has_colours: bool) -> structlog.stdlib.ProcessorFormatter:
    common: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        # No other extras: Celery puts the arguments of tasks there.
        structlog.stdlib.ExtraAdder(allow=log.KEYS),
        _name_event,
    ]
    # Not structlog's own formatting of exceptions: for people it may show the values of variables.
    last: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
    ]
    if form == "json":
        last.append(structlog.processors.JSONRenderer())
    else:
        last += [_escaped, structlog.dev.ConsoleRenderer(colors=has_colours)]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=common, processors=last)


def _name_event(_logger: Any, _method: str, line: EventDict) -> EventDict:
    """A canonical event is its name and its fields; its text says the same over again."""
    if "action" in line:
        line["event"] = line.pop("action")
    return line


def _escaped(_logger: Any, _method: str, line: EventDict) -> EventDict:
    for key, value in line.items():
        if key == "exception":
            text = _CONTROLS_BUT_LINE_FEED.sub(_escape, value)
            line[key] = "  | " + text.replace("\n", "\n  | ")
        elif isinstance(value, str):
            line[key] = _CONTROLS.sub(_escape, value)
    return line


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()


def _log_last_words(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logger.critical("the process ends", exc_info=(kind, error, trace))


def _log_end_of_thread(end: threading.ExceptHookArgs) -> None:
    name = end.thread.name if end.thread else "unknown"
    error = end.exc_value
    logger.error(
        "the thread %s has ended",
        name,
        exc_info=(type(error), error, end.exc_traceback) if error else None,
    )
