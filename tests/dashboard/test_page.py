"""The page: what is where, and what of it needs a person."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay_worker.breaker import Breakers
from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.limits import BULK_CREATE_EVENTS, CREATE_LIST
from klaviyo_relay_worker.outcome import Failure
from klaviyo_relay_worker.quota import Quota

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"</pre>'


def test_an_empty_redis_has_an_empty_page(dashboard):
    page = dashboard.get("/")
    assert page.status_code == 200
    assert "No lanes yet" in page.text
    assert "All is well" in page.text


def test_the_page_shows_every_lane_with_its_numbers(dashboard, stock):
    stock.die(3)
    stock.deliver(2)
    stock.wait(7)
    page = dashboard.get("/").text
    for cell in ('"Backlog">7<', '"Dead">3<', '"Parked">0<', '"Following">0<'):
        assert cell in page
    assert "2 delivered in the last hour" in page
    assert "3 dead letters wait for a decision" in page


def test_the_live_part_is_the_page_without_its_frame(dashboard, stock):
    stock.wait(7)
    part = dashboard.get("/live")
    assert '"Backlog">7<' in part.text
    assert "<html" not in part.text


def test_a_used_limit_is_shown_with_klaviyos_number(dashboard, stock):
    stock.wait()
    quota = Quota(stock.redis, stock.keys)
    for _ in range(3):
        assert quota.reserve("default", BULK_CREATE_EVENTS) == 0
    quota.reserve("default", CREATE_LIST)
    page = dashboard.get("/").text
    assert ">3 of 150 a minute" in page
    assert ">1 of 150 a day" in page


def test_what_klaviyo_says_of_a_limit_is_what_is_shown(dashboard, stock):
    stock.wait()
    quota = Quota(stock.redis, stock.keys)
    quota.reserve("default", BULK_CREATE_EVENTS)
    quota.learn("default", BULK_CREATE_EVENTS, {"ratelimit-limit": "10, 10;w=1, 120;w=60"})
    quota.throttled("default", BULK_CREATE_EVENTS, 30)
    page = dashboard.get("/").text
    assert ">1 of 120 a minute" in page
    assert "our share 50 %" in page
    assert "blocked for 30 s" in page


def test_requests_older_than_a_minute_do_not_count(dashboard, stock):
    stock.wait()
    now = int(time.time() * 1000)
    times = stock.keys.quota("default", BULK_CREATE_EVENTS).times
    stock.redis.rpush(times, *range(now - 90_000, now - 80_000, 1000), now - 50_000, now - 10)
    assert ">2 of 150 a minute" in dashboard.get("/").text


@pytest.mark.parametrize(("reason", "level"), [("person", "notice"), ("unauthorized", "alarm")])
def test_a_pause_is_told_with_its_reason(dashboard, stock, reason, level):
    stock.wait()
    Breakers(stock.redis, stock.keys).pause("default", "", reason, 60)
    page = dashboard.get("/").text
    assert f"paused: {reason}" in page
    assert f'<li class="{level}">The account default is paused' in page


def test_an_open_breaker_is_shown(dashboard, stock):
    stock.wait()
    for _ in range(3):
        Breakers(stock.redis, stock.keys).failed("default", "events", time.monotonic(), 60)
    page = dashboard.get("/").text
    assert "breaker open" in page
    assert "waits: outage" in page


def test_an_old_backlog_that_nobody_delivers_is_an_alarm(dashboard, stock):
    stream = stock.keys.lane("default", "events").stream
    stock.wait()
    [(_, fields)] = stock.redis.xrange(stream)
    stock.redis.delete(stream)
    stock.redis.xadd(stream, fields, id=f"{int((time.time() - 120) * 1000)}-0")
    assert "does a worker run?" in dashboard.get("/").text


def test_a_lost_command_is_an_alarm(dashboard, stock):
    stock.wait()
    stock.redis.delete(stock.keys.lane("default", "events").stream)
    assert "1 commands are lost" in dashboard.get("/").text


def test_markup_in_klaviyos_words_is_text(dashboard, stock):
    stock.die(1, Failure(status=400, code=HOSTILE, detail=HOSTILE, pointer=HOSTILE))
    page = dashboard.get("/").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_redis_away_is_said_and_the_page_recovers(dashboard_of, until):
    with PrivateRedis() as server:
        dashboard = dashboard_of(server.url)
        assert dashboard.get("/").status_code == 200
        server.stop()
        until(lambda: dashboard.get("/").status_code == 503)
        for path in ("/", "/live"):
            away = dashboard.get(path)
            assert away.status_code == 503
            assert "Redis does not answer" in away.text
            assert ":***@" in away.text
        server.start()
        assert dashboard.get("/").status_code == 200


def test_redis_away_from_the_start_is_said(dashboard_of):
    with PrivateRedis() as server:
        server.stop()
        dashboard = dashboard_of(server.url)
        assert dashboard.get("/").status_code == 503
        server.start()
        assert dashboard.get("/").status_code == 200
