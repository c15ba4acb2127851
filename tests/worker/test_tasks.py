"""The Celery tasks, run in this process: what a task's arguments become in the lanes."""

from __future__ import annotations

import json
import time

import pytest
from celery import Celery

from klaviyo_relay.commands import VERBS
from klaviyo_relay_worker.app import create_app
from klaviyo_relay_worker.dead_letters import DeadLetters
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status

# Celery 5.7 wants task_routes instead; the tasks still name their queue themselves.
pytestmark = pytest.mark.filterwarnings("ignore::celery.exceptions.CDeprecationWarning")

WHO = {"email": "ada@shop.io"}
ARGUMENTS = {
    "track": {"metric": "M", **WHO},
    "identify": {"first_name": "Ada", **WHO},
    "add_to_list": {"list_id": "AAAAAA", **WHO},
    "remove_from_list": {"list_name": "News", **WHO},
    "create_list": {"list_name": "News"},
    "rename_list": {"list_name": "News", "new_name": "Weekly"},
    "delete_list": {"list_id": "AAAAAA"},
    "subscribe": {"list_id": "AAAAAA", "channels": ["email"], **WHO},
    "unsubscribe": WHO,
    "suppress": WHO,
    "unsuppress": WHO,
    "delete_profile": WHO,
}


@pytest.fixture
def app(redis_url) -> Celery:
    return create_app(WorkerSettings(redis_url=redis_url, api_keys={"default": "pk_test"}))


@pytest.fixture
def call(app):
    def run(verb, *args, task_id="00000000-0000-4000-8000-000000000001", **kwargs):
        task = app.tasks[f"klaviyo_relay.{verb}"]
        task.apply(args, kwargs, task_id=task_id, throw=True)

    return run


def stored(redis, keys, lane, account="default"):
    found = redis.xrange(keys.lane(account, lane).stream)
    return [json.loads(fields[b"e"]) for _, fields in found]


def dead(redis, keys):
    return list(DeadLetters(redis, keys).all(Status(redis, keys).lanes()))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_puts_its_command_into_its_lane(call, redis, keys, verb):
    call(verb, **ARGUMENTS[verb])
    [envelope] = stored(redis, keys, VERBS[verb].lane)
    assert envelope["id"] == "00000000-0000-4000-8000-000000000001"
    assert envelope["command"] == {"verb": verb, **ARGUMENTS[verb]}
    assert Status(redis, keys).report()["lost"] == 0


def test_a_second_delivery_of_the_task_adds_nothing(call, redis, keys):
    for _ in range(2):
        call("track", metric="M", profile={"title": "Dr"}, **WHO)
    assert len(stored(redis, keys, "events")) == 1
    [identify] = stored(redis, keys, "profiles")
    assert identify["command"] == {"verb": "identify", "title": "Dr", **WHO}


def test_the_account_is_chosen_by_name(call, redis, keys):
    call("track", metric="M", account="eu", **WHO)
    [envelope] = stored(redis, keys, "events", "eu")
    assert envelope["account"] == "eu"


@pytest.mark.parametrize(
    ("verb", "args", "kwargs", "detail"),
    [
        ("track", (), {}, "metric: is required"),
        ("track", (), {"metric": "M"}, "email"),
        ("track", ("M",), WHO, "arguments: must be given by name"),
        ("identify", (), {"colour": 1, **WHO}, "colour: is unknown"),
        ("track", (), {"metric": "M", "account": "No!", **WHO}, "account"),
        ("track", (), {"metric": "M", "profile": "x", **WHO}, "profile"),
        (
            "identify",
            (),
            {"properties": {str(n): "x" * 90_000 for n in range(2)}, **WHO},
            "identify",
        ),
    ],
    ids=["nothing", "nobody", "positional", "unknown", "account", "profile", "too large"],
)
def test_what_is_invalid_is_a_dead_letter_once(call, redis, keys, verb, args, kwargs, detail):  # noqa: PLR0917 - fixtures
    for _ in range(2):
        call(verb, *args, **dict(kwargs))
    [letter] = dead(redis, keys)
    assert letter.failure.detail.startswith(detail)
    assert (letter.verb, letter.envelope) == (verb, None)
    lane = Status(redis, keys).report()["accounts"]["default"]["lanes"][VERBS[verb].lane]
    assert (lane["accepted"], lane["dead"], lane["lost"]) == (1, 1, 0)


def test_a_task_id_that_would_be_taken_for_an_import_jobs_is_refused(call, redis, keys):
    call("track", task_id="job:1", metric="M", **WHO)
    [letter] = dead(redis, keys)
    assert letter.failure.detail == "task_id: must not begin with job:"
    assert stored(redis, keys, "events") == []


@pytest.mark.parametrize(
    ("account", "buried"), [("eu", "eu"), ("No!", "default"), (7, "default"), (None, "default")],
    ids=str,
)  # fmt: skip
def test_what_is_invalid_is_buried_under_the_account_that_it_names(
    call, redis, keys, account, buried
):
    call("track", account=account, **WHO)
    [letter] = dead(redis, keys)
    assert letter.lane == f"{buried}:events"
    assert json.loads(letter.message) == {"account": account, **WHO}


def test_what_celery_cannot_hand_over_is_buried_under_its_account(app, redis, keys):
    app.tasks["klaviyo_relay.track"].apply((), {"self": "me", "account": "eu", **WHO})
    [letter] = dead(redis, keys)
    assert letter.lane == "eu:events"


def test_a_dead_letter_is_dated_by_redis(call, redis, keys, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 0.0)
    call("track", **WHO)
    [letter] = dead(redis, keys)
    assert letter.dead_at == pytest.approx(redis.time()[0], abs=60)
