"""The example applications under gunicorn (two workers, preloaded) and uvicorn."""

import os
import signal
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from waiting import wait_until

every_app = pytest.mark.parametrize("name", ["django", "flask", "fastapi"])
under_gunicorn = pytest.mark.parametrize("name", ["django", "flask"])


def accepted(answers):
    return [answer for answer in answers if answer.status == 201]


@every_app
def test_each_accepted_order_is_one_command_in_redis(app_of, lane, name):
    app = app_of(name)

    answers = app.orders(60)

    assert len(accepted(answers)) == 60
    lane.wait_for(answers)


@pytest.mark.parametrize("name", ["flask", "fastapi"])
def test_a_bad_command_is_refused_with_its_field_and_nothing_is_sent(app_of, lane, name):
    app = app_of(name)

    assert app.order("n1", email="nobody")[1:] == (
        422, {"field": "email", "rule": "must be one address of the form name@domain.tld"},
    )  # fmt: skip
    lane.wait_for([app.order("n2")])


@under_gunicorn
def test_both_workers_of_a_preloaded_server_have_a_spool_of_their_own(app_of, lane, name):
    app = app_of(name)
    answers = []

    def both_answered():
        answers.extend(app.orders(8, prefix=f"n{len(answers)}-"))
        return len({answer.body["pid"] for answer in answers}) == 2

    wait_until(both_answered, what="both workers answered")

    assert app.process.pid not in {answer.body["pid"] for answer in answers}
    assert len(list(app.spool.glob("*.spool"))) == 2
    lane.wait_for(answers)


def test_a_rolled_back_django_request_sends_nothing(app_of, lane):
    app = app_of("django")

    def mixed(number):
        if number % 3 == 0:
            return app.order(f"refused{number}", fail="1")
        if number % 3 == 1:
            return app.order(f"crashed{number}", path="crash")
        return app.order(f"good{number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(mixed, range(60)))
    twice = app.order("good2")

    assert [answer.status for answer in answers] == [409, 500, 201] * 20
    assert twice.status == 409
    # SIGTERM waits for what the spools hold: what is not in Redis after it was never stored.
    assert app.terminate() == 0
    lane.wait_for(accepted(answers))
    with sqlite3.connect(app.folder / "shop.sqlite3") as database:
        stored = {number for (number,) in database.execute("SELECT number FROM shop_order")}
    database.close()
    assert stored == set(lane.numbers())


@every_app
def test_sigterm_under_load_loses_nothing(app_of, lane, name):
    app = app_of(name)
    with ThreadPoolExecutor(8) as pool:
        coming = [pool.submit(app.order, f"n{number}") for number in range(400)]
        wait_until(lambda: sum(one.done() for one in coming) >= 40, what="40 answers")
        app.terminate()
        answers = [one.result() for one in coming]

    assert 40 <= len(accepted(answers)) < 400
    ids = lane.ids()
    assert len(ids) == len(set(ids))
    # One whose answer was cut off may have been accepted as well.
    assert {answer.body["id"] for answer in accepted(answers)} <= set(ids)
    assert len(ids) - len(accepted(answers)) <= 8


@every_app
def test_sigterm_while_redis_is_away_keeps_all_on_the_disk(app_of, lane, own_redis, name):
    app = app_of(name)
    first = app.orders(10, prefix="a")
    lane.wait_for(first)

    own_redis.pause()
    second = app.orders(30, prefix="b")
    assert len(accepted(second)) == 30
    app.terminate()
    own_redis.resume()

    # A batch that was on its way when Redis froze may have landed; the others are on the disk.
    assert len(lane.numbers()) < 40
    assert app.flush_spool().split(",")[1].split()[0] == "0"
    lane.wait_for(first + second)
    app.flush_spool()
    lane.wait_for(first + second)


@every_app
def test_an_orderly_shutdown_waits_for_redis(app_of, lane, own_redis, name):
    # A setting that no framework of the examples sets comes from the environment.
    app = app_of(name, KLAVIYO_RELAY_EXIT_SECONDS="20")
    own_redis.pause()
    answers = app.orders(10)
    app.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        app.process.wait(1)
    own_redis.resume()
    app.process.wait(20)

    lane.wait_for(accepted(answers))


@under_gunicorn
def test_sigkill_of_a_worker_loses_nothing(app_of, lane, own_redis, name):
    app = app_of(name)
    lane.wait_for(first := app.orders(10, prefix="a"))

    own_redis.pause()
    second = app.orders(30, prefix="b")
    assert len(accepted(second)) == 30
    killed = {answer.body["pid"] for answer in second}
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in killed), what="the workers are gone")
    own_redis.resume()
    app.flush_spool()

    lane.wait_for(first + second)
    # The arbiter has started others, which go on with spools of their own.
    third = app.orders(10, prefix="c")
    assert not killed & {answer.body["pid"] for answer in third}
    lane.wait_for(first + second + third)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_sigkill_of_uvicorn_loses_nothing(app_of, lane, own_redis):
    app = app_of("fastapi")
    own_redis.pause()
    answers = app.orders(30)
    assert len(accepted(answers)) == 30
    app.process.kill()
    app.process.wait(10)
    own_redis.resume()

    assert lane.numbers() == []
    app.flush_spool()
    lane.wait_for(answers)


def test_the_management_command_ships_what_a_dead_worker_left(app_of, lane, own_redis):
    app = app_of("django")
    own_redis.pause()
    answers = app.orders(5)
    os.killpg(app.process.pid, signal.SIGKILL)
    app.process.wait(10)
    own_redis.resume()

    assert f"{app.spool}: 5 commands wait" in app.manage("klaviyo_relay", "status")
    assert f"{app.spool}: 0 commands wait" in app.manage("klaviyo_relay", "flush")
    lane.wait_for(answers)
