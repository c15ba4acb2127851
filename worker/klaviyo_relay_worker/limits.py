"""Klaviyo's limits: requests a second and a minute for each endpoint and account, and sizes.

Source: `x-klaviyo-ratelimit` of the OpenAPI document, revision 2026-07-15, where no other is named.
"""

from __future__ import annotations

from msgspec import Struct


class RateLimit(Struct, frozen=True):
    """A limit of Klaviyo's.

    Attributes:
        second: requests in a second ("burst").
        minute: requests in a minute ("steady").
        day: requests in a day, or 0.
    """

    second: int
    minute: int
    day: int = 0


XS = RateLimit(1, 15)
S = RateLimit(3, 60)
M = RateLimit(10, 150)
L = RateLimit(75, 750)
XL = RateLimit(350, 3500)

CREATE_EVENT = "POST /api/events"
BULK_CREATE_EVENTS = "POST /api/event-bulk-create-jobs"
IMPORT_PROFILE = "POST /api/profile-import"
BULK_IMPORT_PROFILES = "POST /api/profile-bulk-import-jobs"
GET_IMPORT_JOBS = "GET /api/profile-bulk-import-jobs"
GET_IMPORT_JOB = "GET /api/profile-bulk-import-jobs/{id}"
GET_IMPORT_ERRORS = "GET /api/profile-bulk-import-jobs/{id}/import-errors"
GET_PROFILES = "GET /api/profiles"
GET_PROFILE = "GET /api/profiles/{id}"
GET_LISTS_OF_PROFILE = "GET /api/profiles/{id}/lists"
GET_EVENTS = "GET /api/events"
GET_METRICS = "GET /api/metrics"
GET_METRIC = "GET /api/metrics/{id}"
QUERY_METRIC_AGGREGATES = "POST /api/metric-aggregates"
GET_LISTS = "GET /api/lists"
GET_LIST = "GET /api/lists/{id}"
# No endpoint, but the name of a limit: counting the members has its own (API overview, "rate
# limits": query parameters), so quotas count it apart; see `Request.quota_key`.
GET_LIST_AND_COUNT = "GET /api/lists/{id} with profile_count"
GET_SEGMENTS = "GET /api/segments"
GET_SEGMENT = "GET /api/segments/{id}"
GET_SEGMENT_AND_COUNT = "GET /api/segments/{id} with profile_count"
GET_SEGMENT_PROFILES = "GET /api/segments/{id}/profiles"
CREATE_LIST = "POST /api/lists"
UPDATE_LIST = "PATCH /api/lists/{id}"
DELETE_LIST = "DELETE /api/lists/{id}"
GET_LIST_PROFILES = "GET /api/lists/{id}/profiles"
GET_LIST_PROFILE_IDS = "GET /api/lists/{id}/relationships/profiles"
REMOVE_LIST_PROFILES = "DELETE /api/lists/{id}/relationships/profiles"
BULK_SUBSCRIBE = "POST /api/profile-subscription-bulk-create-jobs"
BULK_UNSUBSCRIBE = "POST /api/profile-subscription-bulk-delete-jobs"
BULK_SUPPRESS = "POST /api/profile-suppression-bulk-create-jobs"
BULK_UNSUPPRESS = "POST /api/profile-suppression-bulk-delete-jobs"
DELETE_PROFILE = "POST /api/data-privacy-deletion-jobs"

RATE_LIMITS: dict[str, RateLimit] = {
    CREATE_EVENT: XL,
    BULK_CREATE_EVENTS: M,
    IMPORT_PROFILE: L,
    BULK_IMPORT_PROFILES: M,
    GET_IMPORT_JOBS: M,
    GET_IMPORT_JOB: M,
    GET_IMPORT_ERRORS: M,
    GET_PROFILES: L,
    GET_PROFILE: L,
    GET_LISTS_OF_PROFILE: S,
    GET_EVENTS: XL,
    GET_METRICS: M,
    GET_METRIC: M,
    QUERY_METRIC_AGGREGATES: S,
    GET_LISTS: L,
    GET_LIST: L,
    GET_LIST_AND_COUNT: XS,
    GET_SEGMENTS: L,
    GET_SEGMENT: L,
    GET_SEGMENT_AND_COUNT: XS,
    GET_SEGMENT_PROFILES: L,
    CREATE_LIST: RateLimit(10, 150, 150),
    UPDATE_LIST: M,
    DELETE_LIST: M,
    GET_LIST_PROFILES: L,
    GET_LIST_PROFILE_IDS: L,
    REMOVE_LIST_PROFILES: M,
    BULK_SUBSCRIBE: L,
    BULK_UNSUBSCRIBE: L,
    BULK_SUPPRESS: L,
    BULK_UNSUPPRESS: L,
    DELETE_PROFILE: S,
}

# Sizes of pages: the longest that Klaviyo gives, hence the fewest requests (`page[size]` of the
# OpenAPI document; a longer one is refused).
PROFILES_A_PAGE = 100
EVENTS_A_PAGE = 1_000
# Rows a page; a smaller page is refused (recorded answers, revision 2026-07-15).
AGGREGATE_ROWS_A_PAGE = 500
