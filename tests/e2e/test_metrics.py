"""Metrics over HTTP: a real worker and the stand-alone command, scraped as Prometheus does."""

from __future__ import annotations

import signal
import socket
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from klaviyo_relay import Identify, Producer, Track
from scrapes import metrics_url, page_at

SECRETS = ("lovelace", "pk_e2e", "Analytical", "Countess", "Nowhere")


def scrape(url):
    text = page_at(url)
    samples = {
        (sample.name.removeprefix("klaviyo_relay_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    return samples, text


def test_a_workers_counters_are_the_sandboxs_numbers(site, sandbox, tracks, until):
    worker = site.worker("--metrics-port", "0", "--log-level", "debug")
    url = metrics_url(worker)
    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    site.enqueue(*tracks(1_500))
    site.enqueue(
        Track(metric="poison", email="ada@lovelace.dev", properties={"engine": "Analytical"}),
        Identify(email="ada@lovelace.dev", title="Countess"),
    )
    site.wait_for_rest()
    found, text = scrape(url)
    summary = sandbox.summary()
    assert found["delivered_total", "default", "events"] == summary["events"] == 1_500
    assert sum(n for key, n in found.items() if key[0] == "dead_total") == len(site.dead()) == 1
    asked = {
        endpoint: sum(
            n for key, n in found.items() if key[0] == "requests_total" and endpoint in key
        )
        for endpoint in summary["requests"]
    }
    assert asked == {name: sum(seen.values()) for name, seen in summary["requests"].items()}
    assert found["backlog", "default", "events"] == 0
    assert found["dead_letters", "default", "events"] == 1
    assert found[("redis_up",)] == 1
    assert found[("lost",)] == 0
    assert any(key[0] == "quota_used_ratio" and n > 0 for key, n in found.items())
    names = {key[0] for key in found if not key[0].startswith("python_")}
    assert all(line.startswith(("# ", "klaviyo_relay_")) for line in text.splitlines()), names
    assert not any(secret in text for secret in SECRETS)
    assert worker.end() == 0


def test_the_stand_alone_command_serves_what_stands_in_redis(site, tracks, until):
    command = [sys.executable, "-m", "klaviyo_relay_worker", "metrics", "--port", "0"]
    process = site.worker(command=command, is_ready=False, KLAVIYO_API_KEY="")
    url = metrics_url(process)
    site.enqueue(*tracks(7))
    found, _ = scrape(url)
    assert found["backlog", "default", "events"] == 7
    assert not any(key[0] == "delivered_total" for key in found)
    process.send(signal.SIGTERM)
    assert process.process.wait(60) == 0


def test_a_spool_that_waits_for_redis_shows(site, until):
    command = [sys.executable, "-m", "klaviyo_relay_worker", "metrics", "--port", "0"]
    away = "redis://127.0.0.1:1/0"
    settings = type(site.settings)(redis_url=away, spool_dir=site.settings.spool_dir)
    producer = Producer(settings)
    producer.track("M", email="ada@lovelace.dev")
    process = site.worker(command=command, is_ready=False, KLAVIYO_RELAY_REDIS_URL=away)
    found, _ = scrape(metrics_url(process))
    assert (found[("redis_up",)], found[("spool_pending",)]) == (0, 1)
    producer.close(0)
    process.send(signal.SIGINT)
    assert process.process.wait(60) == 0


@pytest.mark.parametrize("command", [("metrics", "--port"), ("worker", "--metrics-port")])
def test_a_port_that_is_taken_is_said_in_one_sentence(site, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = site.run(*command, str(port))
    assert done.returncode == 2
    assert f"cannot serve metrics at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
