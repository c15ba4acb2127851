"""The page itself: its live part, what it does with markup, and Redis away."""

from __future__ import annotations

from klaviyo_relay_worker.embedded import PrivateRedis
from klaviyo_relay_worker.outcome import Failure

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">\'"</pre>'


def test_the_live_part_is_the_page_without_its_frame(dashboard, stock):
    stock.wait(7)
    part = dashboard.get("/live")
    assert '"Backlog">7<' in part.text
    assert "<html" not in part.text


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
