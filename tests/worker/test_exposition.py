"""The exposition: a real scrape over HTTP, and a port that is taken."""

from __future__ import annotations

import socket

import pytest
import requests
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from klaviyo_relay import AddToList, Producer, Track
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.exposition import registry_of, serve
from klaviyo_relay_worker.telemetry.counters import Counters


def test_a_scrape_gets_the_gauges_and_this_process(relay_settings):
    track = Track(metric="M", email="ada@lovelace.dev")
    Producer(relay_settings).enqueue_many([track], bulk=False, timeout=10)
    port = serve(registry_of(relay_settings), "127.0.0.1", 0)
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    assert 'klaviyo_relay_backlog{account="default",lane="events"} 1.0' in text
    assert "klaviyo_relay_process_resident_memory_bytes" in text
    assert "python_info" not in text, "nothing of the registry that all libraries share"
    assert "lovelace" not in text


def test_a_workers_scrape_is_openmetrics(house):
    registry = registry_of(house.relay)
    house.listen(Counters(registry))
    house.enqueue(Track(metric="M", email="a@x.io"), AddToList(list_name="No", email="a@x.io"))
    house.turn()
    port = serve(registry, "127.0.0.1", 0)
    wanted = {"Accept": "application/openmetrics-text;version=1.0.0"}
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", headers=wanted, timeout=10)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    found = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"klaviyo_relay_parked", "klaviyo_relay_parkings"} <= found


def test_a_port_that_is_taken_is_a_fault_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot serve metrics at 127.0.0.1:{port}"):
            serve(CollectorRegistry(), "127.0.0.1", port)


def test_an_address_that_is_none_is_a_fault_that_names_it():
    with pytest.raises(ConfigurationError, match=r"metrics at no-such-host\.invalid:0"):
        serve(CollectorRegistry(), "no-such-host.invalid", 0)
