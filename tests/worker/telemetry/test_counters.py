"""The counters: equal to what the sandbox saw, and bounded whatever Klaviyo says."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from klaviyo_relay import AddToList, Track
from klaviyo_relay_worker.outcome import Dead, Dropped, Failure
from klaviyo_relay_worker.telemetry import counters
from klaviyo_relay_worker.telemetry.counters import Bound, Counters, status_class
from klaviyo_relay_worker.telemetry.event import Telemetry

SECRETS = ("lovelace", "pk_test", "Analytical", "poison", "Nowhere")


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def samples(registry):
    """All samples by name and the labels' values, in the order of the labels' names."""

    def read():
        return {
            (sample.name.removeprefix("klaviyo_relay_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(generate_latest(registry).decode())
            for sample in family.samples
        }

    return read


def test_the_counters_equal_what_the_sandbox_saw(house, sandbox, registry, samples, tracks):
    house.listen(Counters(registry))
    sandbox.set_faults([{"action": "refuse", "match": "poison"}, {"status": 503, "times": 1}])
    properties = {"engine": "Analytical"}
    house.enqueue(*tracks(300, properties=properties))
    house.enqueue(Track(metric="poison", email="ada@lovelace.dev"))
    house.work_off()
    found = samples()
    requests = sandbox.summary()["requests"]
    for endpoint, statuses in requests.items():
        counted = sum(
            n
            for (name, *labels), n in found.items()
            if name == "requests_total" and endpoint in labels
        )
        assert counted == sum(statuses.values()), endpoint
        by_class = {}
        for status, number in statuses.items():
            name = status_class(int(status))
            by_class[name] = by_class.get(name, 0) + number
        for name, number in by_class.items():
            assert found["request_seconds_count", endpoint, name] == number
    assert found["delivered_total", "default", "events"] == sandbox.summary()["events"] == 300
    [letter] = house.dead()
    assert found["dead_total", "default", letter.failure.code, "events"] == 1
    assert (
        sum(
            n for (name, *rest), n in found.items() if name == "requests_total" and "outage" in rest
        )
        == 1
    )
    assert not any(secret in generate_latest(registry).decode() for secret in SECRETS)


def test_what_is_parked_is_counted_each_time_with_its_reason(house, registry, samples):
    house.listen(Counters(registry))
    house.enqueue(AddToList(list_name="Nowhere", email="ada@lovelace.dev"))
    house.turn()
    assert house.numbers("lists") == {"parked": 1}
    parked = {key[3]: n for key, n in samples().items() if key[0] == "parkings_total"}
    assert list(parked.values()) == [1]


def test_codes_of_klaviyo_cannot_multiply_without_end(registry, samples, monkeypatch):
    monkeypatch.setattr(counters, "CODES_MOST", 3)
    telemetry = Telemetry(Counters(registry))
    for number in range(50):
        telemetry.settled("default", "events", [Dead(Failure(status=400, code=f"c{number}"))])
    telemetry.settled("default", "events", [Dropped("forgotten")])
    found = samples()
    codes = {key[2]: n for key, n in found.items() if key[0] == "dead_total"}
    assert codes == {"c0": 1, "c1": 1, "c2": 1, "other": 47}
    assert found["dropped_total", "default", "events", "forgotten"] == 1


def test_a_bound_lets_the_first_values_through_for_ever():
    bound = Bound(2)
    assert [bound(value) for value in "abcab"] == ["a", "b", "other", "a", "b"]


@pytest.mark.parametrize(
    ("status", "name"), [(0, "none"), (202, "2xx"), (429, "4xx"), (503, "5xx")]
)
def test_statuses_have_classes(status, name):
    assert status_class(status) == name
