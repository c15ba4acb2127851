"""Traces: from the caller's span through the lanes to a span of the request, and no further."""

from __future__ import annotations

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from klaviyo_relay import AddToList, Identify, Producer, Track
from klaviyo_relay_worker.telemetry.event import DeliveryAttempted, Telemetry
from klaviyo_relay_worker.telemetry.spans import trace

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
SECRETS = ("lovelace", "pk_test", "Analytical", "Countess")


@pytest.fixture
def exporter(monkeypatch):
    """Everything that is traced in this test; the provider is the process's for so long."""
    found = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(api, "_TRACER_PROVIDER", provider)
    yield found
    provider.shutdown()


@pytest.fixture
def spans(exporter):
    """The spans of requests to Klaviyo so far."""
    return lambda: [span for span in exporter.get_finished_spans() if span.kind is SpanKind.CLIENT]


@pytest.fixture
def tracer(exporter):
    return api.get_tracer("shop")


@pytest.fixture
def traced(house):
    """The house, whose planner traces."""
    house.listen(trace)
    return house


def attempted(**more):
    given = {
        "account": "default", "lane": "events", "endpoint": "POST /api/events", "items": 1,
        "status": 202, "seconds": 0.25, "outcome": "answered", "began_at": 1.7e9,
        "host": "a.klaviyo.com", "port": 443, **more,
    }  # fmt: skip
    return DeliveryAttempted(**given)


def test_a_request_has_a_span_that_links_to_its_callers(traced, spans, tracer, relay_settings):
    producer = Producer(relay_settings)
    contexts = []
    for number in range(3):
        with tracer.start_as_current_span(f"checkout {number}") as span:
            contexts.append(span.get_span_context())
            producer.track("M", email="ada@lovelace.dev", properties={"engine": "Analytical"})
    producer.track("M", email="nobody@lovelace.dev")
    assert producer.close(10).left == 0
    traced.work_off()
    linked = [link.context for span in spans() for link in span.links]
    assert {(one.trace_id, one.span_id, one.trace_flags) for one in linked} == {
        (one.trace_id, one.span_id, one.trace_flags) for one in contexts
    }
    assert all(one.is_remote and one.trace_flags.sampled for one in linked)
    assert all(span.parent is None for span in spans())


def test_a_span_says_what_the_conventions_want_and_nothing_private(traced, spans, sandbox, tracer):
    with tracer.start_as_current_span("load"):
        traced.enqueue(Identify(email="ada@lovelace.dev", title="Countess"))
        traced.enqueue(AddToList(list_id=sandbox.create_list("News"), email="ada@lovelace.dev"))
    traced.work_off()
    asked = {
        endpoint: sum(seen.values()) for endpoint, seen in sandbox.summary()["requests"].items()
    }
    assert sorted(span.name for span in spans()) == sorted(
        name for name, number in asked.items() for _ in range(number)
    )
    span = next(span for span in spans() if span.attributes["klaviyo_relay.lane"] == "profiles")
    attributes = dict(span.attributes)
    assert attributes.pop("http.response.status_code") in {200, 201}
    assert attributes == {
        "http.request.method": "POST",
        "url.template": "/api/profile-import",
        "server.address": "127.0.0.1",
        "server.port": int(sandbox.url.rpartition(":")[2]),
        "klaviyo_relay.account": "default",
        "klaviyo_relay.lane": "profiles",
        "klaviyo_relay.commands": 1,
        "klaviyo_relay.outcome": "answered",
    }
    assert 0 < span.end_time - span.start_time < 10e9
    text = "".join(span.to_json() for span in spans())
    assert not any(secret in text for secret in SECRETS)


def test_klaviyo_is_told_nothing_of_our_traces(house, serve, spans, tracer):
    server = serve(lambda connection: connection.sendall(ACCEPTED))
    with tracer.start_as_current_span("load"):
        house.enqueue(Track(metric="M", email="ada@lovelace.dev"))
        planner = house.make_planner(Telemetry(trace), api_url=server.url)
        planner.deliver("default", "events")
    [span] = spans()
    [link] = span.links
    [received] = server.received
    assert received.startswith(b"POST /api/events ")
    head = received.lower()
    assert b"traceparent" not in head
    assert b"tracestate" not in head
    assert b"baggage" not in head
    assert f"{link.context.trace_id:032x}".encode() not in head


def test_a_batch_links_to_128_callers_at_most_each_once(house, spans, tracer):
    told = []
    house.listen(trace, told.append)
    for _ in range(150):
        with tracer.start_as_current_span("one of many"):
            house.enqueue(
                Track(metric="M", email="ada@lovelace.dev"), Track(metric="M", email="b@shop.io")
            )
    house.work_off()
    traces = [event.traces for event in told if isinstance(event, DeliveryAttempted)]
    assert max(map(len, traces)) == max(len(span.links) for span in spans()) == 128
    assert all(len(set(one)) == len(one) for one in traces)


def test_an_outage_is_an_error(traced, spans, sandbox):
    sandbox.set_faults([{"status": 503, "times": 1}, {"action": "lose_answer", "times": 1}])
    traced.enqueue(Track(metric="M", email="ada@lovelace.dev"))
    traced.work_off()
    first, second, *_ = spans()
    assert first.status.status_code is second.status.status_code is StatusCode.ERROR
    assert (first.attributes["error.type"], second.attributes["error.type"]) == ("503", "outage")
    assert "http.response.status_code" not in second.attributes


@pytest.mark.parametrize(
    "text", ["", "00-", "x" * 55, "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "01-" + "a" * 52, "🐍"]
)
def test_a_context_that_is_none_is_no_link(spans, text):
    trace(attempted(traces=(text, f"00-{'a' * 32}-{'b' * 16}-00")))
    [span] = spans()
    [link] = span.links
    assert (link.context.trace_id, link.context.trace_flags) == (int("a" * 32, 16), 0)


def test_the_span_that_happens_to_be_current_has_no_part_in_it(spans, tracer):
    with tracer.start_as_current_span("the task"):
        trace(attempted())
    [span] = spans()
    assert span.parent is None
