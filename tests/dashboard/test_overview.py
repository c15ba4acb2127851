"""The overview: what is where, and what of it needs a person."""

from __future__ import annotations

import time

import pytest

from klaviyo_relay_worker.breaker import Breakers


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
