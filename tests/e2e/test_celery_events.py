"""Celery's events and its remote control: lanes are shown, what is in a command never."""

from __future__ import annotations

import sys
import textwrap
import threading

import pytest
from celery import Celery

MARKS = ("lovelace", "analyticalengine", "Countess")
WHO = {"email": "ada@lovelace.dev"}

SHOP = textwrap.dedent(
    """
    import os
    from celery import Celery
    from klaviyo_relay_worker.app import install

    app = Celery("shop", broker=os.environ["KLAVIYO_RELAY_REDIS_URL"])
    app.conf.broker_connection_retry_on_startup = True
    app.conf.task_send_sent_event = True
    install(app)

    if __name__ == "__main__":
        track = app.tasks["klaviyo_relay.track"]
        track.delay(metric="analyticalengine", email="ada@lovelace.dev")
        track.s(metric="analyticalengine", email="ada@lovelace.dev").apply_async(queue="klaviyo")
    """
)


@pytest.fixture
def foreign(site):
    """A Celery app that knows nothing of klaviyo-relay."""
    with Celery("other", broker=site.settings.redis_url, set_as_current=False) as app:
        yield app


@pytest.fixture
def received(foreign):
    """All of Celery's events from now on."""
    events, over, listens = [], threading.Event(), threading.Event()

    def listen():
        with foreign.connection_for_read() as connection:
            receiver = foreign.events.Receiver(connection, handlers={"*": events.append})
            with receiver.consumer_context() as (own, _, _):
                listens.set()
                while not over.is_set():
                    try:
                        own.drain_events(timeout=0.2)
                    except TimeoutError:
                        continue

    thread = threading.Thread(target=listen)
    thread.start()
    assert listens.wait(30)
    yield events
    over.set()
    thread.join(30)


def of(events, kind, name):
    ids = {one["uuid"] for one in events if one.get("name") == name}
    return [one for one in events if one["type"] == kind and one.get("uuid") in ids]


def send_from_elsewhere(foreign, **more):
    return foreign.send_task(
        "klaviyo_relay.track",
        kwargs={"metric": "analyticalengine", "properties": {"title": "Countess"}, **WHO},
        queue="klaviyo",
        ignore_result=True,
        **more,
    )


def test_flower_sees_lanes_and_no_payloads(site, foreign, received, until, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    queues = ["-Q", "klaviyo,klaviyo.deliver", "--pool", "threads", "-l", "INFO", "-E"]
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", *queues]
    worker = site.worker(command=command, PYTHONPATH=str(tmp_path))
    send_from_elsewhere(foreign)
    shop = site.worker(command=[sys.executable, tmp_path / "shop.py"], is_ready=False)
    assert shop.process.wait(60) == 0, shop.log()
    site.sandbox.wait(events=3, timeout=60)
    until(lambda: len(of(received, "task-succeeded", "klaviyo_relay.track")) == 3)
    for kind, number in (("task-received", 3), ("task-sent", 2)):
        found = of(received, kind, "klaviyo_relay.track")
        assert [(one["args"], one["kwargs"]) for one in found] == [("***", "***")] * number, kind
    rings = [one for one in received if one.get("name") == "klaviyo_relay.deliver"]
    assert {one["type"] for one in rings} == {"task-sent", "task-received"}
    assert {(one["args"], one["kwargs"]) for one in rings} == {("('default', 'events')", "{}")}
    assert not any(mark in repr(received) for mark in MARKS)
    assert not any(mark in worker.log() for mark in MARKS)
    assert worker.end() == 0


def test_our_own_worker_sends_events_on_demand(site, foreign, received, until):
    worker = site.worker("--task-events")
    send_from_elsewhere(foreign)
    site.sandbox.wait(events=1, timeout=60)
    until(lambda: of(received, "task-succeeded", "klaviyo_relay.track"))
    assert not any(mark in repr(received) for mark in MARKS)
    assert worker.end() == 0


def test_remote_control_shows_no_payloads(site, foreign, until):
    worker = site.worker("--concurrency", "1")
    # Far enough in the future to be looked at while it waits in the worker.
    send_from_elsewhere(foreign, countdown=600)

    def scheduled():
        answers = foreign.control.inspect(timeout=2.0).scheduled() or {}
        return [one for found in answers.values() for one in found]

    [one] = until(scheduled)
    assert one["request"]["name"] == "klaviyo_relay.track"
    assert not any(mark in repr(one) for mark in MARKS)
    assert worker.end() == 0
