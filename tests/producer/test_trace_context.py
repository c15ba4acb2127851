import json
import subprocess
import sys

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider

from klaviyo_relay import Track
from klaviyo_relay.trace_context import current_trace

ADA = "ada@lovelace.dev"


@pytest.fixture
def tracer(monkeypatch):
    """Of a provider that is the process's for this test."""
    provider = TracerProvider()
    monkeypatch.setattr(api, "_TRACER_PROVIDER", provider)
    yield api.get_tracer("shop")
    provider.shutdown()


def test_the_current_span_is_told_as_a_traceparent(tracer):
    with tracer.start_as_current_span("checkout") as span:
        context, told = span.get_span_context(), current_trace()

    assert told[:53] == f"00-{context.trace_id:032x}-{context.span_id:016x}-"
    assert int(told[53:], 16) & 1 == context.trace_flags.sampled == 1


def test_every_way_into_the_lanes_carries_it(tracer, producer, lanes):
    with tracer.start_as_current_span("checkout"):
        trace = current_trace()
        producer.track("M", email=ADA, profile={"first_name": "Ada"})
        producer.enqueue_many([Track(metric="M", email=ADA)])
    assert producer.flush(10).left == 0

    found = [lanes.entries(lane) for lane in ("events", "profiles", "events:bulk")]
    assert [[one.envelope.trace for one in entries] for entries in found] == [[trace]] * 3


def test_without_a_span_there_is_no_context(tracer):
    assert current_trace() is None


def test_a_broken_tracing_costs_no_command(monkeypatch, tracer, producer):
    monkeypatch.setattr(api, "get_current_span", lambda: 1 / 0)

    assert producer.track("M", email=ADA)


PROGRAM = """
import json, sys
from klaviyo_relay.trace_context import current_trace
assert not any(name.partition(".")[0] == "opentelemetry" for name in sys.modules)
print(json.dumps(current_trace()))
assert not any(name.partition(".")[0] == "opentelemetry" for name in sys.modules)
"""


def test_a_process_without_opentelemetry_does_not_import_it():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert json.loads(done.stdout) is None
