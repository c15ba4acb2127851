"""Who did what is written down, or it is not done."""

from __future__ import annotations

import logging

from klaviyo_relay_worker.dashboard.audit import KEPT_MOST, Act, Audit

LANE = "default:events"


def test_a_command_is_hidden_until_it_is_asked_for_and_that_is_written_down(
    dashboard, stock, caplog
):
    [identity] = stock.die(1, properties={"secret": "</pre><script>alert(1)</script>"})
    shown = (
        dashboard.get("/").text,
        dashboard.get(f"/letters?lane={LANE}&group={stock.group_of()}").text,
    )
    assert identity in shown[1]
    for page in shown:
        assert "p0@shop.io" not in page
        assert "ada@lovelace.dev" not in page, "Klaviyo repeats what it refuses"
        assert "Invalid email address: •••" in page
    with caplog.at_level(logging.INFO):
        letter = dashboard.send("/reveal", lane=LANE, id=identity).text
    assert "p0@shop.io" in letter
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)" in letter
    assert "<script>alert" not in letter
    assert f"dashboard.action reveal {identity} by 127.0.0.1 count=1" in caplog.text
    assert f"<strong>reveal</strong> {identity}" in dashboard.get("/").text


def test_a_command_is_not_shown_if_it_cannot_be_written_down(dashboard, stock):
    [identity] = stock.die(1)
    form = {"form_token": dashboard.form_token(), "lane": LANE, "id": identity}
    stock.redis.set(stock.keys.audit, "in the way")
    answer = dashboard.post("/reveal", form)
    assert answer.status_code == 503
    assert "Redis refuses" in answer.text
    assert "p0@shop.io" not in answer.text


def test_every_act_is_in_the_log_and_on_the_page(dashboard, stock, caplog):
    stock.die(3)
    with caplog.at_level(logging.INFO):
        dashboard.confirmed(what="redrive", lane=LANE, group=stock.group_of())
        dashboard.confirmed(what="pause", account="default")
    lines = [one for one in caplog.records if getattr(one, "action", "") == "dashboard.action"]
    assert [one.args[0] for one in lines] == ["redrive", "pause"]
    assert "shop.io" not in caplog.text
    page = dashboard.get("/").text
    assert page.index("<strong>pause</strong> default") < page.index("<strong>redrive</strong>")


def test_a_proxys_word_on_who_it_was_is_kept_beside_the_proxys_own(dashboard, stock):
    stock.wait()
    form = {"form_token": dashboard.form_token(), "account": "default"}
    dashboard.post("/pause", form, x_forwarded_for="6.6.6.6, 203.0.113.9")
    dashboard.post("/pause", form, x_forwarded_for="<script>")
    latest = Audit(stock.redis, stock.keys).latest(2)
    assert [one.act.who for one in latest] == ["127.0.0.1", "127.0.0.1 for 203.0.113.9"]


def test_the_audit_keeps_the_latest_alone(redis, keys):
    audit = Audit(redis, keys)
    for number in range(KEPT_MOST + 20):
        audit.note(Act(who="me", what="pause", target=f"t{number}", count=number))
    assert redis.xlen(keys.audit) == KEPT_MOST
    assert audit.latest(1)[0].act == Act(who="me", what="pause", target="t519", count=519)
