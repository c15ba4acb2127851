"""Servers that fork an application that was loaded before: Celery's prefork pool and uWSGI."""

from __future__ import annotations

import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

import pytest
from celery import Celery

from ports import free_port
from programs import found
from waiting import wait_until

PROGRAMS = Path(__file__).with_name("programs")


@pytest.fixture
def shop(site, tmp_path, server):
    """A Celery client and a worker of two processes; each ends after thirty tasks."""
    ids = tmp_path / "ids"
    worker = site.command(
        [sys.executable, "-m", "celery", "--app=shop", "--workdir", PROGRAMS, "worker",
         "--pool=prefork", "--concurrency=2", "--max-tasks-per-child=30",
         "--without-gossip", "--without-mingle", "--without-heartbeat"],
        SHOP_BROKER=server.url,
        SHOP_IDS=str(ids),
    )  # fmt: skip
    app = Celery("client", broker=server.url, set_as_current=False)
    yield app, worker, ids
    app.close()


def test_tasks_of_a_prefork_worker_deliver_though_it_tracked_before_it_forked(shop, site):
    app, worker, ids = shop
    with app.connection_for_write() as connection:
        for number in range(100):
            app.send_task("shop.order", (number,), connection=connection, ignore_result=True)

    def stored() -> list[str]:
        return ids.read_text().split() if ids.exists() else []

    wait_until(lambda: len(stored()) >= 110, seconds=30, what="110 calls")
    worker.send(signal.SIGTERM)
    worker.ids(status=None)
    site.ship_orphans()

    assert len(stored()) == 110
    site.assert_once(stored())
    assert "Traceback" not in worker.log


def uwsgi():
    """How to start uWSGI, if it is installed: the package uwsgi (built) or pyuwsgi (a wheel)."""
    if path := found("uwsgi"):
        return [path]
    if find_spec("pyuwsgi"):
        return [sys.executable, "-c", "import sys, pyuwsgi; sys.exit(pyuwsgi.run())"]
    return None


@pytest.mark.skipif(uwsgi() is None, reason="neither uwsgi nor pyuwsgi is installed")
@pytest.mark.parametrize(
    ("options", "tracks_first"),
    # Without the option, uWSGI forks behind Python's back, maybe in the midst of an import.
    [([], ""), (["--py-call-uwsgi-fork-hooks"], "yes")],
    ids=["forked before the first command", "forked after it, with fork hooks"],
)
def test_workers_of_uwsgi_deliver_for_an_application_that_was_loaded_before_the_fork(
    site, options, tracks_first
):
    port = free_port()
    master = site.command(
        [*uwsgi(), "--http-socket", f"127.0.0.1:{port}", "--master", "--workers", "2",
         "--enable-threads", "--need-app", "--die-on-term", "--pythonpath", PROGRAMS,
         "--home", sys.prefix, *[f"--pythonpath={path}" for path in sys.path if path],
         "--module", "site_wsgi", *options],
        SITE_TRACKS_FIRST=tracks_first,
    )  # fmt: skip

    def get(_: int = 0) -> dict[str, object]:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return json.load(answer)

    def is_up():
        assert master.process.poll() is None, master.log
        try:
            return get()
        except OSError:
            return None

    answers = [wait_until(is_up, what="uWSGI answers")]
    with ThreadPoolExecutor(4) as clients:
        for _ in range(10):
            answers += clients.map(get, range(20))
            if len({answer["pid"] for answer in answers}) == 2:
                break
    ids = [*answers[0]["first"], *(identity for answer in answers for identity in answer["ids"])]
    # While they still run, their threads ship what each process stored.
    wait_until(lambda: set(ids) <= set(site.arrived()), what="all commands of the workers")
    master.send(signal.SIGTERM)
    master.ids(status=None)
    site.ship_orphans()

    assert len({answer["pid"] for answer in answers}) == 2
    assert "Traceback" not in master.log
    site.assert_once(ids)
