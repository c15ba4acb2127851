"""Dead letters by cause, however many there are."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay_worker.dashboard import groups as module
from klaviyo_relay_worker.dashboard.groups import Heads, cause_of, groups_of, masked_words
from klaviyo_relay_worker.dead_letters import invalid, unreadable
from klaviyo_relay_worker.outcome import Failure

LANE = "default:events"
TRAP = 'it said ,"envelope":{ and ,"message":" to us'


@pytest.fixture
def heads(redis, keys):
    return Heads(redis, keys)


def fill(stock, number):
    """So many dead letters, as one real one with other ids."""
    [identity] = stock.die(1, properties={"text": "x" * 300})
    key = stock.keys.lane("default", "events").dead
    letter = stock.redis.hget(key, identity)
    pipeline = stock.redis.pipeline(transaction=False)
    for at in range(number - 1):
        other = f"{at:08d}{identity[8:]}"
        pipeline.hset(key, other, letter.replace(identity.encode(), other.encode()))
    pipeline.hincrby(stock.keys.lane("default", "events").counts, "accepted", number - 1)
    pipeline.execute()


def test_letters_with_one_cause_are_one_group_wherever_in_a_list_they_stood(stock, heads):
    for at in (0, 17, 999):
        stock.die(1, Failure(status=400, code="invalid", pointer=f"/data/{at}/attributes/email"))
    stock.die(2, Failure(status=404, code="not_found"))
    found = groups_of(heads.scan(LANE, 100))
    assert [(one.count, one.cause.code, one.cause.pointer) for one in found] == [
        (3, "invalid", "/data/*/attributes/email"),
        (2, "not_found", ""),
    ]
    assert found[0].first_at <= found[0].last_at <= time.time()
    assert len({one.cause.name for one in found}) == 2


def test_a_head_holds_nothing_of_the_command(stock, redis, keys):
    stock.die(3, properties={"a": {"envelope": 1, "message": 2}})
    script = redis.register_script(module.script_of("klaviyo_relay_worker.dashboard", "heads"))
    raw = b"".join(script(keys=[keys.lane("default", "events").dead], args=[0, 100]))
    assert b'"verb":"track"' in raw
    assert b"shop.io" not in raw


def test_klaviyos_words_cannot_hide_where_a_command_begins(stock, heads):
    stock.die(1, Failure(status=400, code=TRAP, title=TRAP, detail=TRAP, pointer=TRAP))
    [head] = heads.scan(LANE, 10)
    assert head.failure.detail == TRAP
    assert head.attempts == 1


def test_what_was_no_envelope_has_a_head_too(redis, keys, heads):
    key = keys.lane("default", "events").dead
    redis.hset(key, "a", unreadable(LANE, "a", TRAP.encode(), TRAP, now=1.0))
    redis.hset(key, "b", invalid(LANE, "b", "track", TRAP, TRAP, now=1.0))
    redis.hset(key, "c", b"[]")
    codes = {head.id: cause_of(head).code for head in heads.scan(LANE, 10)}
    assert codes == {"a": "unreadable", "b": "invalid", "c": "unreadable_letter"}


def test_a_letter_that_is_no_utf_8_has_a_head_too(redis, keys, heads):
    letter = invalid(LANE, "a", "track", TRAP, TRAP, now=1.0).replace(b"track", b"tr\xffck")
    redis.hset(keys.lane("default", "events").dead, "a", letter)
    [head] = heads.scan(LANE, 10)
    assert (head.id, cause_of(head).code) == ("a", "unreadable_letter")


def test_a_scan_ends_at_its_bound(stock, heads):
    fill(stock, 1_000)
    assert len(list(heads.scan(LANE, 250))) == 250
    assert len({head.id for head in heads.scan(LANE, 5_000)}) == 1_000


def test_a_scan_ends_in_time(stock, heads, monkeypatch):
    fill(stock, 1_000)
    monkeypatch.setattr(module, "_SCAN_SECONDS", -1.0)
    assert 0 < len(list(heads.scan(LANE, 5_000))) < 1_000


def test_a_hundred_thousand_dead_letters_do_not_hang_the_page(dashboard, stock):
    fill(stock, 100_000)
    began = time.monotonic()
    page = dashboard.get("/").text
    seconds = time.monotonic() - began
    print(f"the page took {seconds:.2f} s")  # noqa: T201 - shown with -s, and when the test fails
    assert "the first 5,000 of 100,000" in page
    assert seconds < 5, "generous: this machine may have other things to do"
    assert stock.numbers()["dead"] == 100_000


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Invalid email 'ada@lovelace.dev'.", "Invalid email '•••'."),
        ("a.b+c@x.io and <d@y.io>", "••• and <•••>"),
        ("Phone +1 (555) 010-2030 is wrong", "Phone ••• is wrong"),
        ("must be at most 5000 characters", "must be at most 5000 characters"),
        ("", ""),
    ],
)
def test_addresses_and_numbers_in_klaviyos_words_are_masked(said, shown):
    assert masked_words(said) == shown
