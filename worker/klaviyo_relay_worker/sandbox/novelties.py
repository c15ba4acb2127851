"""Answers of a Klaviyo to come: what nobody knows yet, and an attribute that has another type.

Klaviyo adds members within a revision and leaves an unknown revision for a newer one without a
word, so a client must read what it knows and pass over the rest. `meta.agent_hints` is such an
addition of revision 2026-10-15.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from .exchange import Answer

_UNKNOWN = ("brand_new", {"since": 2027})
_HINTS = {"next_steps": ["Pass over what you do not know."]}
_CHANGED: Mapping[str, tuple[str, object]] = {
    "event": ("uuid", 7),
    "import-error": ("title", {"text": "Invalid input."}),
    "list": ("opt_in_process", 1),
    "metric": ("integration", "API"),
    "profile": ("image", {"url": None}),
    "profile-bulk-import-job": ("expires_at", 1_800_000_000),
    "profile-suppression-bulk-create-job": ("skipped_count", "0"),
    "profile-suppression-bulk-delete-job": ("skipped_count", "0"),
    "segment": ("is_starred", "no"),
}
"""By type of resource, an attribute that a client can do without, and its value of another type."""


def with_novelties(answer: Answer) -> Answer:
    """The answer with novelties in its document and in each resource, if it has a document."""
    if not answer.body:
        return answer
    document = msgspec.json.decode(answer.body)
    for resource in _resources(document):
        _change(resource)
    document["meta"] = {**document.get("meta", {}), "agent_hints": _HINTS}
    return answer._replace(body=msgspec.json.encode(document))


def _resources(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The resources; what only refers to one has no attributes."""
    data = document["data"]
    every = [*(data if isinstance(data, list) else [data]), *document.get("included", ())]
    return (one for one in every if one is not None and "attributes" in one)


def _change(resource: dict[str, Any]) -> None:
    attributes = resource["attributes"]
    name, value = _CHANGED.get(resource["type"], _UNKNOWN)
    if name in attributes:
        attributes[name] = value
    attributes.update([_UNKNOWN])
