"""The composition root: an app's tasks, their queues, and what an application installs."""

from __future__ import annotations

import inspect

import pytest
from celery import Celery

import klaviyo_relay_worker
from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.app import create_app, install
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.telemetry.event import Telemetry
from klaviyo_relay_worker.transport import Transport
from redis_nodes import RedisNode

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


def test_celery_uses_the_same_database_as_the_lanes_by_a_socket_too(tmp_path, until):
    directory = tmp_path / "redis"
    node = RedisNode(directory, f"unixsocket {directory}/s", "requirepass geheim")
    node.start()
    try:
        until((directory / "s").exists)
        url = f"unix://{directory}/s?db=3&password=geheim"
        app = create_app(WorkerSettings(redis_url=url))

        app.tasks["klaviyo_relay.deliver"].apply_async(("default", "events"))

        with app.connection_for_write() as connection:
            assert isinstance(connection.transport, Transport)
            assert "geheim" not in connection.as_uri()
        app.close()
        with connect(url) as redis:
            assert redis.llen("klaviyo.deliver") == 1
    finally:
        node.kill()


@pytest.mark.parametrize("query", ["?db=1", "?db=1&client_name=shop", "1"])
def test_celery_uses_the_database_that_an_option_names(redis_url, query):
    url = redis_url.removesuffix("0") + query
    app = create_app(WorkerSettings(redis_url=url))

    app.tasks["klaviyo_relay.deliver"].apply_async(("default", "events"))

    app.close()
    with connect(url) as redis:
        assert redis.connection_pool.connection_kwargs["db"] == 1
        assert redis.llen("klaviyo.deliver") == 1


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
