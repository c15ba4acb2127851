"""RabbitMQ as Celery's broker: wake-up calls and commands through it, and without it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from kombu import Connection

from environment import environment_of
from klaviyo_relay import Producer
from plain_shops import PlainShop
from ports import free_port
from programs import found

# Where Debian and RabbitMQ's own packages put the program itself; what is on PATH wants to be root.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
STARTS_WITHIN_SECONDS = 60.0


class RabbitMQ:
    """A broker of our own on loopback; started again, it has the same port and the same data."""

    def __init__(self, directory):
        directory.mkdir()
        self._directory = directory
        self._ports = [free_port() for _ in range(3)]
        self._processes = []

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self._ports[0]}//"

    def start(self):
        amqp, distribution, names = map(str, self._ports)
        home = str(self._directory)
        environment = {
            **environment_of("LD_LIBRARY_PATH", HOME=home),
            "ERL_EPMD_PORT": names,
            "RABBITMQ_NODENAME": "relay@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": amqp,
            "RABBITMQ_DIST_PORT": distribution,
            "RABBITMQ_MNESIA_BASE": home,
            "RABBITMQ_LOG_BASE": home,
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/plugins",
            # Then the script becomes the node, instead of its parent; and no shell of Erlang's.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }
        # The node would leave a daemon behind that keeps the names; this one is ended.
        self._run([found("epmd"), "-port", names, "-address", "127.0.0.1"], environment)
        self._run([PROGRAM], environment)

    def answers(self):
        with contextlib.suppress(OSError), Connection(self.url, connect_timeout=2) as connection:
            connection.connect()
            return True
        return False

    def kill(self):
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)
        self._processes.clear()

    def log(self):
        return (self._directory / "output.log").read_text(errors="replace")

    def _run(self, command, environment):
        with (self._directory / "output.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )
            )


@pytest.fixture
def rabbitmq(tmp_path, until):
    if not PROGRAM.exists() or not found("epmd"):
        pytest.skip("RabbitMQ is not installed here")
    broker = RabbitMQ(tmp_path / "rabbitmq")
    broker.start()
    try:
        until(broker.answers, STARTS_WITHIN_SECONDS, broker.log)
        yield broker
    finally:
        broker.kill()


def test_wake_up_calls_and_commands_go_through_rabbitmq_and_deliveries_go_on_without_it(
    rabbitmq, site, sandbox, until
):
    worker = site.worker(KLAVIYO_RELAY_CELERY_BROKER_URL=rabbitmq.url)
    producer = Producer(site.settings)
    producer.track("Placed Order", email="ada@lovelace.dev")
    sandbox.wait(events=1, timeout=60)
    assert "delivers by itself" not in worker.log()

    shop = PlainShop(rabbitmq.url)
    shop.send("track", metric="M", email="a@shop.io")
    sandbox.wait(events=2, timeout=60)

    rabbitmq.kill()
    for at in range(5):
        producer.track("Placed Order", email=f"p{at}@shop.io")
    sandbox.wait(events=7, timeout=60)

    rabbitmq.start()
    until(rabbitmq.answers, STARTS_WITHIN_SECONDS, rabbitmq.log)
    until(lambda: worker.log().count("Connected to amqp") > 1, 60, worker.log)
    shop.send("track", metric="M", email="b@shop.io")
    sandbox.wait(events=8, timeout=60)
    shop.close()
    producer.close()
    site.wait_for_rest()
    assert worker.process.poll() is None
    assert worker.end() == 0


def test_lanes_in_a_cluster_are_woken_through_rabbitmq(rabbitmq, cluster, site_of, sandbox):
    site = site_of(cluster.url)
    worker = site.worker(KLAVIYO_RELAY_CELERY_BROKER_URL=rabbitmq.url)
    producer = Producer(site.settings)
    producer.track("Placed Order", email="ada@lovelace.dev")
    sandbox.wait(events=1, timeout=60)
    producer.close()
    assert "delivers by itself" not in worker.log()
    said = site.run("check", KLAVIYO_RELAY_CELERY_BROKER_URL=rabbitmq.url).stdout
    assert re.search(r"broker: amqp://guest:\*\*\*@\S+ answers", said), said
    assert worker.end() == 0
