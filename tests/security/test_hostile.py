"""Hostile payloads: harmless all the way to Klaviyo and to the terminal, or refused clearly."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from klaviyo_relay import Identify, InvalidCommandError, Producer, Track
from klaviyo_relay_worker.cli.commands import cli
from klaviyo_relay_worker.outcome import Dead, Failure
from plain_shops import PlainShop
from settled_lanes import SettledLane

WHO = {"email": "ada@lovelace.dev"}
# Clears the screen, retitles the terminal, colours, turns the direction of reading, fakes a line.
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202etxt.exe\x00\r\n2026-07-15 INFO all is well\u2028"
HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def nested(levels):
    found = "the end"
    for _ in range(levels):
        found = {"a": found}
    return found


HARMLESS = {
    "huge": {f"p{at}": "x" * 99_000 for at in range(49)},
    "nested": nested(9),
    "escapes": {"note": ESCAPES, ESCAPES: "name"},
    "html": {"note": HTML, HTML: "name"},
    "members of objects": {"__proto__": {"isAdmin": True}, "constructor": {"prototype": 1}},
    "numbers": {"most": 2**63 - 1, "least": -(2**63), "large": 1.7e308, "small": 5e-324},
    "templates": {"note": "{{7*7}} ${jndi:ldap://x} %s %n {0.__class__}", "sql": "'; DROP TABLE--"},
    "letters": {"note": "\u0000\ufeff\ufffe\U0010ffff\u0301" * 10},
}


def test_harmless_payloads_arrive_as_they_are(site, sandbox):
    worker = site.worker("--log-level", "debug")
    expected = {}
    for name, properties in HARMLESS.items():
        site.enqueue(Track(metric=f"M {name}", properties=properties, unique_id=name, **WHO))
        expected[name] = properties
    site.enqueue(Track(metric=ESCAPES[:20], unique_id="metric", **WHO))
    site.wait_for_rest(60.0)
    assert site.dead() == []
    arrived = {event["unique_id"]: event["properties"] for event in sandbox.events()}
    assert arrived.pop("metric") in ({}, None)
    assert arrived.keys() == expected.keys()
    for name, properties in expected.items():
        assert arrived[name] == properties, name
    log = worker.log()
    assert not CONTROLS.search(log)
    assert "all is well" not in log


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({f"p{at}": "x" * 99_000 for at in range(50)}, "bytes as JSON"),
        ({"a": "x" * 100_001}, "at most 100000 bytes"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ({"a": nested(10)}, "nested deeper"),
        ({"a": nested(100_000)}, "nested deeper"),
        ({"a": 2**63}, "64 bits"),
        ({"a": 10**5000}, "64 bits"),
        ({"a": float("nan")}, "finite"),
        ({"a": [0] * 4_001}, "at most 4000 items"),
        ({f"{at}": 1 for at in range(401)}, "at most 400"),
        ({"a": b"bytes"}, "JSON cannot carry"),
    ],
    ids=["huge", "long", "surrogate", "name", "nested", "deep", "64 bits", "more", "nan", "array",
         "many", "bytes"],
)  # fmt: skip
def test_what_nobody_could_carry_is_refused_at_the_call(relay_settings, properties, said):
    producer = Producer(relay_settings)
    with pytest.raises(InvalidCommandError, match=said) as caught:
        producer.track("M", properties=properties, **WHO)
    assert len(str(caught.value)) < 300
    assert not CONTROLS.search(str(caught.value))
    producer.close(0)


def test_a_name_with_escapes_is_refused_in_plain_words():
    with pytest.raises(InvalidCommandError) as caught:
        Identify(properties={ESCAPES: object()}, **WHO)
    assert not CONTROLS.search(str(caught.value))


@pytest.fixture
def send(site):
    """Sends JSON that no Python client would make to the Celery door."""
    shop = PlainShop(site.settings.redis_url)

    def send(identity, arguments):
        body = f"[[], {arguments}, {{}}]"
        headers = {"id": identity, "task": "klaviyo_relay.track", "lang": "py"}
        with shop.app.connection_for_write() as connection, connection.Producer() as producer:
            producer.publish(
                body, routing_key="klaviyo", exchange="", headers=headers,
                content_type="application/json", content_encoding="utf-8",
            )  # fmt: skip

    yield send
    shop.close()


AT_THE_DOOR = {
    "number": '{"metric": "M", "email": "a@shop.io", "properties": {"n": 1' + "0" * 400 + "}}",
    "surrogate": '{"metric": "\\ud800", "email": "a@shop.io"}',
    "deep": '{"metric": "M", "email": "a@shop.io", "properties": '
    + '{"a":' * 200
    + "1"
    + "}" * 201,
    "account": '{"metric": "M", "email": "a@shop.io", "account": "a}:\\u001b[2J\\n{b"}',
    "nan": '{"metric": "M", "email": "a@shop.io", "value": NaN}',
    "proto": '{"metric": "M", "email": "a@shop.io", "__proto__": {"a": 1}}',
    "class": '{"metric": "M", "email": "a@shop.io", "__class__": "x", "self": 1}',
    "html": json.dumps({"metric": "M", "email": HTML}),
    "escapes": json.dumps({"metric": "M", "email": ESCAPES}),
}


def test_what_comes_in_by_the_celery_door_becomes_a_dead_letter(site, send, until):
    worker = site.worker("--log-level", "debug")
    for identity, arguments in AT_THE_DOOR.items():
        send(identity, arguments)
    until(lambda: len(site.dead()) == len(AT_THE_DOOR), 30.0, worker.log)
    letters = {one.id: one for one in site.dead()}
    assert letters.keys() == AT_THE_DOOR.keys()
    assert {one.failure.code for one in letters.values()} == {"invalid"}
    assert {one.lane for one in letters.values()} == {"default:events"}
    assert all(one.failure.detail for one in letters.values())
    # Celery's own, of an argument called self.
    assert worker.log().count("Traceback") == 1
    assert not CONTROLS.search(worker.log())
    assert site.report()["lost"] == 0
    for identity in letters:
        shown = CliRunner().invoke(cli, ["dead", "show", identity], env=site.environment)
        assert json.loads(shown.stdout)["message"]
        assert not CONTROLS.search(shown.stdout)


def test_a_terminal_is_shown_no_control_characters(site):
    site.enqueue(
        Track(metric=ESCAPES, properties={ESCAPES: HTML}, **WHO),
        Track(metric="M", properties={"note": ESCAPES}, **WHO),
    )
    why = Failure(status=400, code=ESCAPES, title=HTML, detail=ESCAPES, pointer=ESCAPES)
    events = SettledLane(site.redis, site.settings.keys)
    identity, *_ = events.settle(Dead(why), at=1_700_000_000.0)
    for arguments in (
        ["dead", "list"], ["dead", "list", "--json"], ["dead", "show", identity],
        ["dead", "export", "-"], ["dead", "export", "-", "--format", "csv"],
        ["dead", "redrive", "--all", "--dry-run"],
        ["dead", "discard", "--all", "--dry-run", "--json"],
        ["explain", identity], ["explain", identity, "--payload"], ["explain", identity, "--json"],
        ["status"], ["status", "--json"],
    ):  # fmt: skip
        done = CliRunner().invoke(cli, arguments, env=site.environment)
        assert done.exit_code == 0, (arguments, done.output)
        assert not CONTROLS.search(done.output.replace("\r\n", "\n")), arguments
    shown = CliRunner().invoke(cli, ["dead", "show", identity], env=site.environment).stdout
    command = json.loads(shown)["envelope"]["command"]
    assert (command["metric"], command["properties"]) == (ESCAPES, {ESCAPES: HTML})
