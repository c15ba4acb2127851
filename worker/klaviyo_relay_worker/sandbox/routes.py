"""Which operation a method and path mean, and what it may cost.

Paths and tiers: Klaviyo OpenAPI 2026-07-15 (`x-klaviyo-ratelimit`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from . import limits
from .calls import (
    aggregates,
    consents,
    events,
    imports,
    lists,
    metrics,
    privacy,
    profiles,
    segments,
    suppressions,
)
from .errors import Fault, Refusal
from .exchange import Answer, Call
from .limits import Tier

JOBS = "/api/profile-bulk-import-jobs"
SUPPRESS = "/api/profile-suppression-bulk-create-jobs"
UNSUPPRESS = "/api/profile-suppression-bulk-delete-jobs"


class Operation(NamedTuple):
    """One operation of the API."""

    method: str
    template: str
    tier: Tier
    run: Callable[[Call], Answer]
    items: tuple[str, ...] = ()
    """The members of the body that lead to its list of items, if it has one."""
    only_reads: bool = False
    """Whether it changes nothing although its method says so."""

    @property
    def endpoint(self) -> str:
        """The name under which calls are counted and faults are set."""
        return f"{self.method} {self.template}"


OPERATIONS = (
    Operation("POST", "/api/events", limits.XL, events.create_event),
    Operation("GET", "/api/events", limits.XL, events.get_events),
    Operation("GET", "/api/events/{id}", limits.M, events.get_event),
    Operation("GET", "/api/events/{id}/metric", limits.XL, events.get_event_metric),
    Operation("GET", "/api/events/{id}/profile", limits.XL, events.get_event_profile),
    Operation(
        "POST",
        "/api/event-bulk-create-jobs",
        limits.M,
        events.bulk_create_events,
        events.ENTRIES,
    ),
    Operation("GET", "/api/metrics", limits.M, metrics.get_metrics),
    Operation("GET", "/api/metrics/{id}", limits.M, metrics.get_metric),
    Operation(
        "POST", "/api/metric-aggregates", limits.S, aggregates.query_aggregates, only_reads=True
    ),
    Operation("POST", "/api/profile-import", limits.L, profiles.import_profile),
    Operation("POST", "/api/profiles", limits.L, profiles.create_profile),
    Operation("GET", "/api/profiles", limits.L, profiles.get_profiles),
    Operation("GET", "/api/profiles/{id}", limits.L, profiles.get_profile),
    Operation("PATCH", "/api/profiles/{id}", limits.L, profiles.update_profile),
    Operation("GET", "/api/profiles/{id}/lists", limits.S, profiles.get_profile_lists),
    Operation(
        "GET", "/api/profiles/{id}/relationships/lists", limits.S, profiles.get_profile_list_ids
    ),
    Operation("GET", "/api/profiles/{id}/segments", limits.S, profiles.get_profile_segments),
    Operation(
        "GET",
        "/api/profiles/{id}/relationships/segments",
        limits.S,
        profiles.get_profile_segment_ids,
    ),
    Operation("POST", JOBS, limits.M, imports.bulk_import_profiles, imports.ROWS),
    Operation("GET", JOBS, limits.M, imports.get_jobs),
    Operation("GET", JOBS + "/{id}", limits.M, imports.get_job),
    Operation("GET", JOBS + "/{id}/import-errors", limits.M, imports.get_import_errors),
    Operation("GET", JOBS + "/{id}/lists", limits.M, imports.get_job_lists),
    Operation("GET", JOBS + "/{id}/relationships/lists", limits.M, imports.get_job_list_ids),
    Operation("GET", JOBS + "/{id}/relationships/profiles", limits.M, imports.get_job_profile_ids),
    Operation("POST", "/api/lists", limits.M_DAILY, lists.create_list),
    Operation("GET", "/api/lists", limits.L, lists.get_lists),
    Operation("GET", "/api/lists/{id}", limits.L, lists.get_list),
    Operation("PATCH", "/api/lists/{id}", limits.M, lists.update_list),
    Operation("DELETE", "/api/lists/{id}", limits.M, lists.delete_list),
    Operation("GET", "/api/lists/{id}/profiles", limits.L, lists.get_members),
    Operation("GET", "/api/lists/{id}/relationships/profiles", limits.L, lists.get_member_ids),
    Operation(
        "POST",
        "/api/lists/{id}/relationships/profiles",
        limits.M,
        lists.add_members,
        lists.MEMBERS,
    ),
    Operation(
        "DELETE",
        "/api/lists/{id}/relationships/profiles",
        limits.M,
        lists.remove_members,
        lists.MEMBERS,
    ),
    Operation("GET", "/api/segments", limits.L, segments.get_segments),
    Operation("GET", "/api/segments/{id}", limits.L, segments.get_segment),
    Operation("GET", "/api/segments/{id}/profiles", limits.L, segments.get_members),
    Operation(
        "GET", "/api/segments/{id}/relationships/profiles", limits.L, segments.get_member_ids
    ),
    Operation(
        "POST",
        "/api/profile-subscription-bulk-create-jobs",
        limits.L,
        consents.subscribe,
        consents.PROFILES,
    ),
    Operation(
        "POST",
        "/api/profile-subscription-bulk-delete-jobs",
        limits.L,
        consents.unsubscribe,
        consents.PROFILES,
    ),
    Operation("POST", SUPPRESS, limits.L, suppressions.suppress, suppressions.PROFILES),
    Operation("GET", SUPPRESS + "/{id}", limits.L, suppressions.get_suppress_job),
    Operation("POST", UNSUPPRESS, limits.L, suppressions.unsuppress, suppressions.PROFILES),
    Operation("GET", UNSUPPRESS + "/{id}", limits.L, suppressions.get_unsuppress_job),
    Operation("POST", "/api/data-privacy-deletion-jobs", limits.S, privacy.delete_profile),
)


ENDPOINTS = frozenset(operation.endpoint for operation in OPERATIONS)


class Route(NamedTuple):
    """An operation and the ids in its path."""

    operation: Operation
    ids: tuple[str, ...]


def find(method: str, path: str) -> Route:
    """The operation for `path`, with or without a slash at its end; refuses 404 and 405."""
    parts = tuple(path.strip("/").split("/"))
    others = False
    for pattern, operations in _BY_LENGTH.get(len(parts), ()):
        if all(want in ("{id}", part) for want, part in zip(pattern, parts, strict=True)):
            if method in operations:
                variable = zip(pattern, parts, strict=True)
                ids = tuple(part for want, part in variable if want == "{id}")
                return Route(operations[method], ids)
            others = True
    if others:
        raise Refusal(405, Fault(f"{method} is not allowed here."))
    raise Refusal(404, Fault("There is no such endpoint."))


_Pattern = tuple[str, ...]


def _patterns() -> dict[int, list[tuple[_Pattern, dict[str, Operation]]]]:
    by_pattern: dict[_Pattern, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        pattern = tuple(operation.template.strip("/").split("/"))
        by_pattern.setdefault(pattern, {})[operation.method] = operation
    by_length: dict[int, list[tuple[_Pattern, dict[str, Operation]]]] = {}
    for pattern, operations in by_pattern.items():
        by_length.setdefault(len(pattern), []).append((pattern, operations))
    return by_length


_BY_LENGTH = _patterns()
