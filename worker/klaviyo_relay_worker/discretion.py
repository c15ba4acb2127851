"""Discretion: Celery's log lines without the contents of messages, which may be private.

Celery 5.7 logs whole messages in two places: at DEBUG the arguments of each task that it hands to
its pool (celery/concurrency/base.py), and, whatever the level, the body and the headers of what it
cannot take (celery/worker/consumer/consumer.py): an unknown task, an unreadable body.
"""

from __future__ import annotations

import logging

_POOL, _CONSUMER = "celery.pool", "celery.worker.consumer.consumer"
_HANDED_OVER = "TaskPool: Apply"
_UNREGISTERED = "Received unregistered task of type"
_NAME_CHARACTERS = 100


def be_discreet() -> None:
    """Keep the contents of messages out of this process's log from now on."""
    for name in (_POOL, _CONSUMER):
        logging.getLogger(name).addFilter(_veil)


def _veil(record: logging.LogRecord) -> bool:
    """Whether a record is logged; what it says of a message's content is taken out."""
    text = str(record.msg)
    if text.startswith(_HANDED_OVER):
        return False
    if "body" in text:
        record.msg = "%s; it is thrown away. What was in it may be private, and is not shown"
        record.args = (_first_line(text, record.args),)
        record.exc_info = record.exc_text = None
    return True


def _first_line(text: str, arguments: object) -> str:
    """What Celery says first: of an unknown task its name, of all else no value at all."""
    said = text.partition("\n")[0].partition("%")[0].rstrip(" :")
    if said != _UNREGISTERED or not isinstance(arguments, tuple) or not arguments:
        return said
    name = str(arguments[0])[:_NAME_CHARACTERS].encode("unicode_escape").decode("ascii")
    return f"{said} {name}"
