"""The composition root: an app's tasks, their queues, and what an application installs."""

from __future__ import annotations

import inspect

import pytest
from celery import Celery

import klaviyo_relay_worker
from klaviyo_relay_worker.app import create_app, install
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.telemetry.event import Telemetry

# Celery 5.7 wants task_routes instead; the tasks still name their queue themselves.
pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")

WHO = {"email": "ada@shop.io"}


@pytest.fixture
def app(redis_url) -> Celery:
    return create_app(WorkerSettings(redis_url=redis_url, api_keys={"default": "pk_test"}))


def test_the_queues_and_the_format_are_those_of_the_contract(app):
    assert {queue.name for queue in app.conf.task_queues} == {"klaviyo", "klaviyo.deliver"}
    assert app.conf.accept_content == ["json"]
    task = app.tasks["klaviyo_relay.track"]
    assert (task.queue, task.acks_late) == ("klaviyo", True)
    assert app.tasks["klaviyo_relay.deliver"].queue == "klaviyo.deliver"


def test_two_apps_in_one_process_keep_their_tasks_apart(redis_url, redis, keys):
    urls = (redis_url, redis_url.removesuffix("0") + "1")
    first, second = (create_app(WorkerSettings(redis_url=url)) for url in urls)
    first.finalize()
    second.tasks["klaviyo_relay.track"].apply((), {"metric": "M", **WHO}, throw=True)
    assert redis.exists(keys.lane("default", "events").stream) == 0
    assert "klaviyo_relay.track" not in Celery("other", set_as_current=False).tasks


def test_the_public_install_takes_what_the_one_of_the_composition_root_takes():
    public, own = (inspect.signature(one) for one in (klaviyo_relay_worker.install, install))
    assert klaviyo_relay_worker.__all__ == ["install"]
    assert public == own
    assert klaviyo_relay_worker.install.__doc__


def test_a_public_install_passes_everything_on(redis_url, redis, keys):
    heard = []
    app = Celery("shop", set_as_current=False)
    settings = WorkerSettings(redis_url=redis_url, api_keys={"default": "pk_test"})
    klaviyo_relay_worker.install(
        app, settings, ends_when_stalled=True, telemetry=Telemetry(heard.append)
    )
    assert {step.ends_when_stalled for step in app.steps["worker"]} == {True}
    app.tasks["klaviyo_relay.track"].apply((), WHO)
    assert len(heard) == 1
