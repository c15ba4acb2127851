"""The examples of docs/jobs.md run as they stand, into a real Redis.

The orchestrators are too heavy to install for it (hundreds of megabytes each), so their decorators
are stand-ins that call the function; the functions themselves are the documented ones.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import pages

JOBS = pages.REPOSITORY / "docs" / "jobs.md"
DAY = "2026-11-25"


def blocks() -> list[str]:
    return [block.text for block in pages.blocks(JOBS)]


def orders_of(day: str) -> list[dict[str, Any]]:
    at = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    return [
        {"customer": f"p{n}@shop.io", "total": 5.0, "placed_at": at, "order": f"{day}-{n}"}
        for n in range(10)
    ]


def called(*arguments: Any, **options: Any) -> Any:
    """A decorator, with options or without, that calls what it decorates with nothing changed."""
    if len(arguments) == 1 and callable(arguments[0]) and not options:
        return arguments[0]
    return lambda function: function


@pytest.fixture
def house(monkeypatch, redis_url, tmp_path):
    """The names that all blocks share, with Redis and spool of the test."""
    monkeypatch.setenv("KLAVIYO_RELAY_REDIS_URL", redis_url)
    monkeypatch.setenv("KLAVIYO_RELAY_SPOOL_DIR", str(tmp_path / "spool"))
    names: dict[str, Any] = {"orders_of": orders_of}
    for block in blocks()[:2]:
        exec(block, names)  # noqa: S102 - our own documentation
    return names


def stand_in(monkeypatch, name: str, **members: Any) -> None:
    for depth in range(1, name.count(".") + 2):
        parent = ".".join(name.split(".")[:depth])
        monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    vars(sys.modules[name]).update(members)


def test_the_plain_examples_load_once(house, redis):
    assert house["send_orders"](orders_of(DAY), DAY).added == 10
    assert house["send_orders"](orders_of(DAY), DAY).added == 0
    assert redis.xlen("kr:{default:events:bulk}:stream") == 10


def test_a_refused_row_arrives_once_mended_under_a_source_of_its_own(house, redis):
    rows = [{"email": f"p{number}@shop.io"} for number in range(4)]
    rows[1] = {"email": "nobody"}
    done, refused = house["send_people"](rows, "people")
    assert (done.added, [row for row, _ in refused]) == (3, [2])
    assert house["send_people"]([{"email": "p1@shop.io"}], "people, mended") == ((1, 1), [])
    stream = redis.xrange("kr:{default:profiles:bulk}:stream")
    sent = [json.loads(fields[b"e"])["command"]["email"] for _, fields in stream]
    assert sorted(sent) == [f"p{number}@shop.io" for number in range(4)]


def test_the_example_for_airflow(house, redis, monkeypatch):
    runs = []

    def task(**_options):
        at = datetime.fromisoformat(DAY).replace(tzinfo=UTC)
        return lambda function: lambda: runs.append(function(logical_date=at))

    stand_in(monkeypatch, "airflow.sdk", dag=called, task=task)
    exec(blocks()[2], house)  # noqa: S102 - our own documentation
    assert runs == [10]


def test_the_example_for_dagster(house, redis, monkeypatch):
    stand_in(
        monkeypatch, "dagster", asset=called, RetryPolicy=SimpleNamespace,
        DailyPartitionsDefinition=SimpleNamespace,
    )  # fmt: skip
    exec(blocks()[3], house)  # noqa: S102 - our own documentation
    told: list[str] = []
    context = SimpleNamespace(partition_key=DAY, log=SimpleNamespace(info=told.append))
    house["klaviyo_orders"](context)
    assert told == ["10 orders enqueued"]


def test_the_example_for_prefect(house, redis, monkeypatch):
    stand_in(monkeypatch, "prefect", flow=called, task=called)
    exec(blocks()[4], house)  # noqa: S102 - our own documentation
    assert [house["orders_to_klaviyo_flow"](DAY) for _ in range(2)] == [10, 0]


def test_every_example_is_run():
    marks = [block.words for block in pages.blocks(JOBS)]
    assert marks == [("by test_jobs_md",)] * 5
