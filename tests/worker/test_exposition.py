"""The exposition: a real scrape over HTTP, and a port that is taken."""

from __future__ import annotations

import socket

import pytest
import requests
from prometheus_client import CollectorRegistry

from klaviyo_relay import Producer, Track
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.exposition import registry_of, serve


def test_a_scrape_gets_the_gauges_and_this_process(relay_settings):
    track = Track(metric="M", email="ada@lovelace.dev")
    Producer(relay_settings).enqueue_many([track], bulk=False, timeout=10)
    port = serve(registry_of(relay_settings), "127.0.0.1", 0)
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    assert 'klaviyo_relay_backlog{account="default",lane="events"} 1.0' in text
    assert "klaviyo_relay_process_resident_memory_bytes" in text
    assert "python_info" not in text, "nothing of the registry that all libraries share"
    assert "lovelace" not in text


def test_a_port_that_is_taken_is_a_fault_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot serve metrics at 127.0.0.1:{port}"):
            serve(CollectorRegistry(), "127.0.0.1", port)


def test_an_address_that_is_none_is_a_fault_that_names_it():
    with pytest.raises(ConfigurationError, match=r"metrics at no-such-host\.invalid:0"):
        serve(CollectorRegistry(), "no-such-host.invalid", 0)
