"""Alerts and the dashboard: against promtool, and a real Prometheus that scrapes a real worker."""

from __future__ import annotations

import json
import re
import urllib.parse
from urllib.parse import urlsplit

import pytest

from klaviyo_relay import Identify, Producer, Settings, Subscribe, Track, Unsubscribe
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.lane import Lane
from ports import free_port
from scrapes import metrics_url

RUNBOOK = "docs/runbook.md"
# What Grafana would put in their place.
VARIABLES = {"$account": ".*", "$lane": ".*", "$__rate_interval": "1m"}
# Nothing of it happens within a test: their queries are run, and may be empty.
RARE = re.compile(r"klaviyo_relay_(parkings_total|redis_memory_max_bytes)")


@pytest.fixture
def alerts(deploy):
    """Name of each alert -> its text."""
    text = (deploy / "prometheus" / "alerts.yaml").read_text()
    _, *parts = re.split(r"(?m)^      - alert: ", text)
    return {part.split("\n", 1)[0]: part for part in parts}


@pytest.fixture
def dashboard(deploy):
    """The Grafana dashboard."""
    return json.loads((deploy / "grafana" / "klaviyo-relay.json").read_text())


def queries_of(dashboard):
    """(panel's title, query) of all of its panels and annotations."""
    found = [
        (panel["title"], target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    for variable, value in VARIABLES.items():
        found = [(title, query.replace(variable, value)) for title, query in found]
    return found


def test_the_alerts_and_the_configuration_are_in_order(tool, deploy):
    promtool = tool("promtool")
    for words in (("check", "rules", "alerts.yaml"), ("check", "config", "prometheus.yaml")):
        done = promtool(*words, cwd=deploy / "prometheus")
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_alone(tool, deploy):
    done = tool("promtool")("test", "rules", "alerts.test.yaml", cwd=deploy / "prometheus")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_scenario_in_which_it_fires(alerts, deploy):
    scenarios = (deploy / "prometheus" / "alerts.test.yaml").read_text()
    assert [name for name in alerts if f'alertname="{name}"' not in scenarios] == []


def test_each_alert_has_its_section_in_the_runbook(alerts, deploy):
    text = (deploy.parent / RUNBOOK).read_text()
    _, *parts = re.split(r"(?m)^## ", text)
    sections = {part.split("\n", 1)[0]: part for part in parts}
    assert list(sections) == list(alerts)
    for name, alert in alerts.items():
        assert f"runbook: {RUNBOOK}#{name.lower()}\n" in alert
        assert "**Means:**" in sections[name], name
        assert "**Do:**" in sections[name], name


def test_each_alert_has_a_severity_a_summary_and_a_description(alerts):
    for name, text in alerts.items():
        assert re.search(r"labels: \{severity: (critical|warning|info)\}", text), name
        assert re.search(r'summary: ".+"', text), name
        assert re.search(r'description: ".+"', text), name


def test_panels_have_their_own_ids_and_places(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels:
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]


class Prometheus:
    """A Prometheus with the alerts of deploy/, that scrapes some addresses of this machine."""

    def __init__(self, stage, deploy, addresses, fetch):
        port = free_port()
        self._url, self._fetch = f"http://127.0.0.1:{port}", fetch
        configuration = stage.directory / "prometheus.yaml"
        configuration.write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"
            f"rule_files: ['{deploy / 'prometheus' / 'alerts.yaml'}']\n"
            "scrape_configs:\n  - job_name: klaviyo-relay\n"
            f"    static_configs: [{{targets: {json.dumps(addresses)}}}]\n"
        )
        self.process = stage.start(
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={stage.directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        )
        self.process.says("Server is ready to receive web requests")

    def ask(self, path, **parameters):
        """The data of an answer.

        Raises:
            urllib.error.HTTPError: the query is no PromQL.
        """
        asked = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        return json.loads(self._fetch(asked))["data"]

    def series(self, query):
        """What a query gives now."""
        return self.ask("query", query=query)["result"]


@pytest.fixture
def environment(stage, redis_url, sandbox):
    """A worker's."""
    return {
        "KLAVIYO_RELAY_REDIS_URL": redis_url,
        "KLAVIYO_RELAY_SPOOL_DIR": str(stage.directory / "spool"),
        "KLAVIYO_API_URL": sandbox.url,
        "KLAVIYO_API_KEY": "pk_deploy",
    }


def address_in(process):
    """Where a process serves its metrics: host and port."""
    return urlsplit(metrics_url(process)).netloc


@pytest.fixture
def exporter(stage, environment):
    """The address of `klaviyo-relay metrics`."""
    return address_in(stage.relay("metrics", "--port", "0", **environment))


@pytest.fixture
def addresses(stage, environment, exporter):
    """Of a worker and of an exporter."""
    worker = stage.relay("worker", "--metrics-port", "0", **environment)
    return [address_in(worker), exporter]


@pytest.fixture
def scraping(tool, stage, deploy, fetch):
    """Starts a Prometheus for these addresses."""
    tool("prometheus")
    return lambda addresses: Prometheus(stage, deploy, addresses, fetch)


@pytest.fixture
def prometheus(scraping, addresses):
    """One for a worker and an exporter."""
    return scraping(addresses)


@pytest.fixture
def traffic(environment, sandbox):
    """Commands that arrive, one that Klaviyo refuses and one that a rule drops."""
    sandbox.set_faults([{"action": "refuse", "match": "poison"}])
    spool = environment["KLAVIYO_RELAY_SPOOL_DIR"]
    producer = Producer(Settings(redis_url=environment["KLAVIYO_RELAY_REDIS_URL"], spool_dir=spool))
    who = {"email": "ada@lovelace.dev"}
    producer.enqueue_many(
        [
            *(Track(metric="Placed Order", email=f"p{at}@shop.io") for at in range(20)),
            Track(metric="poison", **who),
            Identify(**who, title="Countess"),
            # Superseded by what follows it.
            Subscribe(**who, list_id="Y6nRLr"),
            Unsubscribe(**who),
        ],
        bulk=False,
        timeout=10,
    )
    producer.close()


def test_every_query_of_the_dashboard_returns_series(prometheus, traffic, dashboard, until):
    wanted = {query: title for title, query in queries_of(dashboard)}
    assert len(wanted) > 25
    for query in wanted:
        prometheus.series(query)  # HTTP 400 if it is no PromQL
    empty = {query for query in wanted if not RARE.search(query)}

    def all_have_series():
        empty.difference_update([query for query in empty if prometheus.series(query)])
        return not empty

    until(all_have_series, 60, lambda: {query: wanted[query] for query in empty})


@pytest.fixture
def lanes_alone(exporter, redis_url, tmp_path):
    """Seven events, and three commands in a lane that is paused; nobody delivers."""
    settings = Settings(redis_url=redis_url, spool_dir=tmp_path / "own-spool")
    producer = Producer(settings)
    events = [Track(metric="Placed Order", email=f"p{at}@shop.io") for at in range(7)]
    people = [Identify(email=f"p{at}@shop.io", title="Countess") for at in range(3)]
    producer.enqueue_many([*events, *people], bulk=False, timeout=30)
    producer.close()
    redis = connect(redis_url)
    Lane(redis, settings.keys, "default", "profiles").pause()
    redis.close()
    return exporter


def test_the_autoscaler_counts_what_more_workers_could_deliver(
    scraping, lanes_alone, yaml, deploy, until
):
    (scaler,) = yaml(deploy / "kubernetes" / "scaledobject.yaml")
    (trigger,) = scaler["spec"]["triggers"]
    prometheus = scraping([lanes_alone])

    def number():
        (series,) = prometheus.series(trigger["metadata"]["query"])
        return float(series["value"][1])

    until(lambda: number() == 7, 60, number)
    assert prometheus.series("sum(klaviyo_relay_backlog)")[0]["value"][1] == "10"


def test_the_alerts_can_be_evaluated_and_notice_a_dead_letter(prometheus, traffic, until):

    def rules():
        groups = prometheus.ask("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def begun():
        return {name for name, rule in rules().items() if rule["state"] != "inactive"}

    until(lambda: begun() == {"KlaviyoRelayDeadLetters"}, 60, begun)
    assert {rule["health"] for rule in rules().values()} == {"ok"}


@pytest.fixture
def metrics(addresses, traffic, fetch):
    """Gives the names of all metrics that are there now."""

    def look():
        text = "".join(fetch(f"http://{address}/metrics") for address in addresses)
        return set(re.findall(r"^(klaviyo_relay_\w+)", text, re.MULTILINE))

    return look


def test_alerts_and_dashboard_ask_for_metrics_that_exist(alerts, dashboard, metrics, until):
    asked = set()
    for text in (*alerts.values(), *(query for _, query in queries_of(dashboard))):
        asked |= set(re.findall(r"\bklaviyo_relay_\w+", text))
    # Labelled counters have no series before their first event.
    asked.discard("klaviyo_relay_parkings_total")
    until(lambda: asked <= metrics(), 30, lambda: asked - metrics())
