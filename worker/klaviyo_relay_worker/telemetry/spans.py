"""The listener that traces: a span of OpenTelemetry's for each request to Klaviyo.

A span is made when its request is over, with the times that it had, so no tracer can come between
us and Klaviyo. One request carries the commands of many callers, hence it is no child of theirs,
but links to them. Klaviyo is told nothing of our traces: it is not ours, so no `traceparent` is
sent.

Names are those of OpenTelemetry's semantic conventions for HTTP clients (stable since 1.23; there
`url.template` is not yet), but without `url.full`: paths hold ids, and queries addresses. What is
ours begins with `klaviyo_relay.`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from klaviyo_relay_worker.telemetry.event import ANSWERED, DeliveryAttempted, Event

if TYPE_CHECKING:
    from opentelemetry.trace import Link

_SCOPE = "klaviyo_relay"
# Version 00 alone; others may follow the same form with more behind it.
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def trace(event: Event) -> None:
    """Make a span of a request, if somebody in this process uses OpenTelemetry."""
    if isinstance(event, DeliveryAttempted) and "opentelemetry.trace" in sys.modules:
        _trace(event)


def _trace(event: DeliveryAttempted) -> None:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, Status, StatusCode, get_tracer

    began = int(event.began_at * 1e9)
    method, _, template = event.endpoint.partition(" ")
    span = get_tracer(_SCOPE).start_span(
        f"{method} {template}",
        # An empty one: the span that happens to be current in this thread has no part in it.
        context=Context(),
        kind=SpanKind.CLIENT,
        attributes=_attributes(event, method, template),
        links=list(_links(event)),
        start_time=began,
    )
    if error := _error_type(event):
        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))
    span.end(began + int(event.seconds * 1e9))


def _attributes(event: DeliveryAttempted, method: str, template: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "http.request.method": method,
        "url.template": template,
        "server.address": event.host,
        "server.port": event.port,
        "klaviyo_relay.account": event.account,
        "klaviyo_relay.lane": event.lane,
        "klaviyo_relay.commands": event.items,
        "klaviyo_relay.outcome": event.outcome,
    }
    if event.status:
        found["http.response.status_code"] = event.status
    return found


def _error_type(event: DeliveryAttempted) -> str:
    """Of a client's span each 4xx and 5xx is an error; without an answer, why there was none."""
    if event.status >= 400:
        return str(event.status)
    return "" if event.outcome == ANSWERED else event.outcome


def _links(event: DeliveryAttempted) -> Iterator[Link]:
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    for text in event.traces:
        found = _TRACEPARENT.fullmatch(text)
        if found is None:
            continue
        trace_id, span_id, flags = (int(part, 16) for part in found.groups())
        context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
        if context.is_valid:
            yield Link(context)
