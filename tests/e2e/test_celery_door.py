"""The Celery door: any Celery producer enqueues by task name, with keyword arguments as JSON."""

from __future__ import annotations

import uuid

import pytest

from plain_shops import PlainShop


@pytest.fixture
def shop(site):
    """Asks a plain Celery app, which knows nothing of klaviyo-relay, for tasks."""
    with PlainShop(site.settings.redis_url) as plain:
        yield plain.send


@pytest.fixture
def worker(site):
    return site.worker()


def test_a_command_of_a_plain_celery_client_arrives_with_the_tasks_id(shop, worker, site, sandbox):
    identity = shop(
        "track", metric="Placed Order", email="ada@shop.io", value=3, properties={"a": 1}
    )
    sandbox.wait(events=1, timeout=60)
    site.wait_for_rest()
    [event] = sandbox.events()
    assert (event["unique_id"], event["value"], event["properties"]) == (identity, 3, {"a": 1})
    assert "ada" not in worker.log()


def test_a_task_that_is_delivered_twice_is_one_command(shop, worker, site, sandbox):
    identity = str(uuid.uuid4())
    for _ in range(3):
        shop("track", task_id=identity, metric="M", email="a@shop.io", profile={"title": "Dr"})
    shop("track", metric="M", email="b@shop.io")
    sandbox.wait(events=2, timeout=60)
    site.wait_for_rest()
    assert site.lane("events")["accepted"] == 2
    assert site.lane("profiles")["accepted"] == 1


@pytest.mark.parametrize(
    ("verb", "args", "kwargs", "field"),
    [
        ("identify", (), {"email": "a@shop.io", "colour": "red"}, "colour"),
        ("track", ("M",), {"email": "a@shop.io"}, "arguments"),
    ],
    ids=["unknown field", "positional"],
)
def test_an_invalid_command_becomes_a_dead_letter(  # noqa: PLR0917 - fixtures
    shop, site, worker, until, verb, args, kwargs, field
):
    identity = shop(verb, *args, **kwargs)
    [letter] = until(site.dead, 60)
    assert (letter.id, letter.verb, letter.failure.code) == (identity, verb, "invalid")
    assert letter.failure.detail.startswith(field)
    assert site.report()["lost"] == 0


def test_every_verb_is_a_task(shop, site, worker, sandbox, until):
    list_id = sandbox.create_list("News")
    who = {"email": "ada@shop.io"}
    shop("track", metric="M", **who)
    shop("identify", first_name="Ada", **who)
    shop("add_to_list", list_id=list_id, **who)
    shop("create_list", list_name="Weekly")
    shop("subscribe", list_id=list_id, **who)
    shop("suppress", email="other@shop.io")
    shop("delete_profile", email="nobody@shop.io")
    sandbox.wait(events=1, members={list_id: 1}, timeout=60)

    def is_done():
        # A deletion that met others in flight is looked at again after ten minutes.
        lanes = site.report()["accounts"]["default"]["lanes"]
        left = {n: one["backlog"] + one["parked"] + one["following"] for n, one in lanes.items()}
        return not any(count for name, count in left.items() if name != "privacy")

    until(is_done)
    assert site.dead() == []
    lanes = site.report()["accounts"]["default"]["lanes"]
    assert {name: one["accepted"] for name, one in lanes.items()} == {
        "events": 1, "profiles": 1, "lists": 2, "consent": 2, "privacy": 1
    }  # fmt: skip
