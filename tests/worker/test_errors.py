"""The tree of errors: as it is drawn, and whole after a journey between processes."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
import re

import pytest

import klaviyo_relay_worker
from klaviyo_relay_worker import errors
from klaviyo_relay_worker.errors import (
    AnswerLostError,
    AuthenticationError,
    InvalidArgumentError,
    NotFoundError,
    RateLimitError,
    RefusedError,
    ServerError,
    WorkerError,
)
from klaviyo_relay_worker.outcome import Failure

WHY = Failure(status=400, code="invalid", title="Invalid", detail="is wrong", pointer="/data")


def drawn():
    """Error -> its parent, by the indentation in the module's docstring."""
    found, path = {}, {}
    for line in (errors.__doc__ or "").splitlines():
        name = re.match(r"([ │├└─]*)(\w+Error)\b", line)
        if name:
            depth = len(name[1])
            path[depth] = name[2]
            above = [path[one] for one in sorted(path) if one < depth]
            found[name[2]] = above[-1] if above else None
            path = {one: path[one] for one in path if one <= depth}
    return found


def defined(kind, parent=None):
    """Error -> its parent, of all classes that the package's modules have."""
    below = {}
    for one in kind.__subclasses__():
        below |= defined(one, kind.__name__)
    return {kind.__name__: parent, **below}


def test_the_drawing_shows_every_error_in_its_place():
    for module in pkgutil.walk_packages(klaviyo_relay_worker.__path__, "klaviyo_relay_worker."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert drawn() == defined(WorkerError)


@pytest.mark.parametrize(
    "error",
    [
        InvalidArgumentError("emails[3]", "must be an address"),
        AnswerLostError("no answer"),
        AuthenticationError("no scope", 403),
        RateLimitError("used up", retry_after=3.5, status=0),
        ServerError("odd", 502),
        RefusedError("refused", 400, [WHY]),
        NotFoundError("unknown", 404),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_error_comes_whole_from_another_process(error):
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
