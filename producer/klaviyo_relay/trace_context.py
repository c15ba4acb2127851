"""The trace context: which request or job of the application a command comes from.

Taken from OpenTelemetry, if this process uses it; never imported for its sake.
"""

from __future__ import annotations

import sys


def current_trace() -> str | None:
    """The current span as a W3C traceparent (Trace Context, level 1), or None without one.

    Never raises: tracing must not cost a command.
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    try:
        context = trace.get_current_span().get_span_context()
        is_valid = context.is_valid
        text = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    except Exception:  # noqa: BLE001 - half imported by another thread, or somebody else's span
        return None
    return text if is_valid else None
