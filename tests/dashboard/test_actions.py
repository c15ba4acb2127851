"""What a person does: counted first, and done as counted."""

from __future__ import annotations

import re
from html import unescape

import pytest

from klaviyo_relay_worker.dashboard import actions as module
from klaviyo_relay_worker.outcome import Failure

LANE = "default:events"
OTHER = Failure(status=404, code="not_found", title="Not found.", detail="No such list.")


def done(dashboard, answer):
    """What the page says was done."""
    assert answer.status_code == 303, answer.text
    page = dashboard.get(answer.headers["location"]).text
    return re.sub(r"<[^>]+>", "", re.search(r'class="done".*?</p>', page)[0]).partition(">")[2]


def test_a_group_is_redriven_after_its_count_was_shown(dashboard, stock):
    stock.die(3)
    stock.die(2, OTHER)
    page, answer = dashboard.confirmed(what="redrive", lane=LANE, group=stock.group_of())
    assert "3 dead letters" in page
    assert "redrive default:events" in done(dashboard, answer)
    assert stock.numbers() == {"backlog": 3, "dead": 2}


def test_a_group_is_discarded_after_its_count_was_shown(dashboard, stock):
    stock.die(3)
    stock.die(2, OTHER)
    page, _ = dashboard.confirmed(what="discard", lane=LANE, group=stock.group_of("not_found"))
    assert "2 dead letters" in page
    assert stock.numbers() == {"discarded": 2, "dead": 3}


@pytest.mark.parametrize(("what", "then"), [("redrive", "backlog"), ("discard", "discarded")])
def test_one_letter_is_redriven_or_discarded_alone(dashboard, stock, what, then):
    identity = stock.die(3)[1]
    page, answer = dashboard.confirmed(what=what, lane=LANE, id=identity)
    assert "1 dead letter<" in page
    assert done(dashboard, answer) == f"Done: {what} {identity}, 1 command."
    assert stock.numbers() == {then: 1, "dead": 2}


def asked(dashboard, stock, what="discard"):
    """The fields of the form that says yes."""
    page = dashboard.get(f"/confirm?what={what}&lane={LANE}&group={stock.group_of()}").text
    fields = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in fields}


def test_what_died_after_the_question_is_not_touched(dashboard, stock):
    gone, _ = stock.die(2)
    fields = asked(dashboard, stock)
    stock.die(5)
    stock.letters.redrive([stock.letters.find([LANE], gone)])
    dashboard.post("/discard", fields)
    assert stock.numbers() == {"discarded": 1, "dead": 5, "backlog": 1}


def test_no_more_is_moved_than_was_counted(dashboard, stock):
    stock.die(3)
    dashboard.post("/discard", {**asked(dashboard, stock), "count": "2"})
    assert stock.numbers() == {"discarded": 2, "dead": 1}


def test_an_answer_that_is_sent_twice_moves_nothing_twice(dashboard, stock):
    stock.die(3)
    fields = asked(dashboard, stock, "redrive")
    for _ in range(2):
        dashboard.post("/redrive", fields)
    assert stock.numbers() == {"backlog": 3}


def test_one_click_moves_no_more_than_a_bounded_number(dashboard, stock, monkeypatch):
    monkeypatch.setattr(module, "ACTED_MOST", 250)
    stock.die(600)
    page, answer = dashboard.confirmed(what="redrive", lane=LANE, group=stock.group_of())
    assert "The first 250 dead letters; there may be more" in page
    assert "250 commands" in done(dashboard, answer)
    assert stock.numbers() == {"backlog": 250, "dead": 350}


@pytest.mark.parametrize("stored", [b"{no letter", b'{"id":"\xff"}'])
def test_a_letter_that_cannot_be_read_stays_and_that_is_said(dashboard, stock, stored):
    key = stock.keys.lane("default", "events").dead
    stock.die(1)
    stock.redis.hset(key, "broken", stored)
    page = dashboard.get("/").text
    assert "unreadable_letter" in page
    group = stock.group_of("unreadable_letter")
    _, answer = dashboard.confirmed(what="redrive", lane=LANE, group=group)
    assert "1 stayed" in done(dashboard, answer)
    assert stock.numbers()["dead"] == 2


def test_a_lane_is_paused_and_resumed(dashboard, stock):
    stock.wait(4)
    page, answer = dashboard.confirmed(what="pause", account="default", lane="events")
    assert "4 commands in 1 lane" in page
    assert done(dashboard, answer) == "Done: pause default:events."
    assert stock.is_paused()
    assert 'id="resume-default-events"' in dashboard.get("/").text
    dashboard.confirmed(what="resume", account="default", lane="events")
    assert not stock.is_paused()


def test_an_account_is_paused_and_resumed(dashboard, stock):
    stock.wait(4)
    dashboard.confirmed(what="pause", account="default")
    assert stock.is_paused()
    dashboard.confirmed(what="resume", account="default")
    assert not stock.is_paused()


@pytest.mark.parametrize(
    "query",
    [
        "what=destroy",
        "what=pause&account=nobody",
        "what=pause&account=default&lane=nothing",
        "what=redrive&lane=nobody:events&group=0",
        "what=redrive&lane=default:events&group=0",
        "what=redrive&lane=default:events&id=nobody",
        "what=redrive&lane=default:events",
        "",
    ],
)
def test_what_is_not_there_cannot_be_asked_for(dashboard, stock, query):
    stock.die(1)
    assert dashboard.get(f"/confirm?{query}").status_code == 404


@pytest.mark.parametrize("fields", [{}, {"count": "x", "until": "1"}, {"count": "1"}], ids=str)
def test_nothing_moves_uncounted(dashboard, stock, fields):
    stock.die(1)
    sent = dashboard.send("/discard", lane=LANE, group=stock.group_of(), **fields)
    assert sent.status_code == 400
    assert stock.numbers() == {"dead": 1}


def test_an_address_cannot_put_words_on_the_page(dashboard, stock):
    stock.wait()
    for made_up in ("<b>hacked</b>", "1-1", "9" * 30 + "-1"):
        page = dashboard.get(f"/?done={made_up}")
        assert page.status_code == 200
        assert "hacked" not in page.text
        assert 'class="done"' not in page.text
