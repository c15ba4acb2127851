"""A Redis that comes back older than it was gets again what it lost: nothing is lost or doubled.

Each round: the replica is cut off and falls behind, the primary dies, and the replica is promoted
behind the address that the producer uses. All that was lost was shipped within the re-ship window.
"""

from __future__ import annotations

import shutil
import time

import pytest

from waiting import wait_until


class Pair:
    """A primary, its replica, and the address that applications use."""

    def __init__(self, servers, forwarder) -> None:
        self._servers, self._forwarder = servers, forwarder
        self.primary = servers.start()
        self.address = forwarder(self.primary.port)
        self.follow()

    def follow(self) -> None:
        """A new replica of the primary, which has all that it has."""
        self.link = self._forwarder(self.primary.port)
        self.replica = self._servers.start(f"replicaof 127.0.0.1 {self.link.port}")
        self.await_replica()

    def await_replica(self) -> None:
        client = self.replica.client
        wait_until(
            lambda: (
                client.info("replication")["master_link_status"] == "up"
                and self.replica.count() == self.primary.count()
            ),
            what="the replica has all",
        )
        client.close()

    def cut(self) -> None:
        """From here on, the replica falls behind."""
        self.link.lead_to(None)

    @property
    def behind(self) -> int:
        return self.primary.count() - self.replica.count()

    def fail_over(self, *, early: bool = False, away_seconds: float = 0.0) -> None:
        """The primary dies and the replica takes over, at once or after a while.

        `early`: the address leads to the replica before it is promoted, while it is read-only.
        """
        self.address.lead_to(self.replica.port if early else None)
        self.primary.kill()
        time.sleep(away_seconds)  # how long Redis is away is a part of the scene
        client = self.replica.client
        client.execute_command("REPLICAOF", "NO", "ONE")
        client.close()
        if not early:
            self.address.lead_to(self.replica.port)
        self.primary = self.replica


@pytest.fixture
def pair(servers, forwarder):
    return Pair(servers, forwarder)


def test_commands_that_pour_in_during_failovers_all_arrive_once(pair, make_site, chance):
    site = make_site(pair.address.url())
    application = site.driver()
    ids = application.track(100).ids
    assert application.flush() == 0
    for _ in range(4):
        pair.await_replica()
        application.begin(every_seconds=0.001)
        before = pair.primary.count()
        wait_until(lambda before=before: pair.primary.count() > before)
        pair.cut()
        wanted = chance.randrange(1, 400)
        wait_until(lambda wanted=wanted: pair.behind >= wanted, what=f"{wanted} behind")
        pair.fail_over(
            early=chance.random() < 0.5, away_seconds=chance.choice([0, 0, chance.uniform(0, 1.2)])
        )
        tracked = application.pause()
        assert tracked.errors == []
        assert tracked.median < 0.001
        ids += tracked.ids
        assert application.flush() == 0
        # The server that had confirmed all may be gone; the thread finds that out within a second.
        wait_until(lambda: site.has_arrived(len(ids)))  # noqa: B023 - it is called here and now
        site.assert_once(ids)
        pair.follow()


def test_what_an_idle_application_had_shipped_arrives_again_after_a_failover(pair, make_site):
    site = make_site(pair.address.url())
    application = site.driver()
    ids = application.track(50, profile={"first_name": "Ada"}).ids
    assert application.flush() == 0
    pair.await_replica()

    pair.cut()
    ids += application.track(200, profile={"first_name": "Ada"}).ids
    assert application.flush() == 0
    assert pair.behind == 200
    pair.fail_over()

    # Nobody calls anything: its thread finds out by itself.
    wait_until(lambda: site.has_arrived(250))
    wait_until(lambda: site.has_arrived(250, "profiles"))
    site.assert_once(ids)
    assert len(set(site.arrived("profiles"))) == len(site.arrived("profiles")) == 250


def test_what_a_process_shipped_that_ended_before_the_failover_is_shipped_again_by_others(
    pair, make_site
):
    site = make_site(pair.address.url())
    before = site.run("for _ in range(50): track()")
    pair.await_replica()
    pair.cut()
    lost = site.run("for _ in range(50): track()")
    lost += site.run("for _ in range(50): track()\nassert klaviyo.flush(10).left == 0; os._exit(0)")
    assert pair.behind == 100
    pair.fail_over()

    site.ship_orphans()

    site.assert_once(before + lost)


def test_what_waited_long_and_was_shipped_by_others_just_before_the_failover_is_shipped_again(
    pair, make_site
):
    # Its rows are old, though Redis has had them for a moment only: it was away for long.
    site = make_site(pair.address.url())
    pair.cut()
    pair.address.lead_to(None)
    ids = site.run("""
    real = time.time_ns
    time.time_ns = lambda: real() - 11_000_000_000
    for _ in range(20):
        track()
    os._exit(0)
    """)
    pair.address.lead_to(pair.primary.port)
    site.ship_orphans()
    site.ship_orphans()
    assert pair.behind == 20
    pair.fail_over()

    site.ship_orphans()

    site.assert_once(ids)


def test_a_failover_right_after_a_failover_loses_and_doubles_nothing(pair, make_site, chance):
    site = make_site(pair.address.url())
    application = site.driver()
    ids = application.track(100).ids
    assert application.flush() == 0
    pair.await_replica()
    pair.cut()
    ids += application.track(150).ids
    assert application.flush() == 0
    pair.fail_over()
    pair.follow()
    pair.cut()
    ids += application.track(150).ids
    # Not waited for: the second comes while the first is being made good.
    time.sleep(chance.uniform(0, 1.2))
    pair.fail_over(early=True)

    assert application.flush() == 0
    wait_until(lambda: site.has_arrived(400))
    site.assert_once(ids)


def test_an_application_that_is_killed_before_it_made_a_failover_good_leaves_it_to_others(
    pair, make_site, chance
):
    site = make_site(pair.address.url())
    application = site.driver()
    ids = application.track(100).ids
    assert application.flush() == 0
    pair.await_replica()
    pair.cut()
    ids += application.track(500).ids
    assert application.flush() == 0
    pair.fail_over()
    time.sleep(chance.uniform(0, 0.6))  # in the midst of making it good, or before
    application.end()

    site.ship_orphans()

    site.assert_once(ids)


def test_a_partition_whose_old_primary_goes_on_for_a_while_loses_and_doubles_nothing(
    pair, make_site
):
    site = make_site(pair.address.url())
    application = site.driver()
    ids = application.track(100).ids
    assert application.flush() == 0
    pair.await_replica()
    pair.cut()
    client = pair.replica.client
    client.execute_command("REPLICAOF", "NO", "ONE")
    client.close()
    # Two primaries; the application still talks to the old one.
    ids += application.track(100).ids
    assert application.flush() == 0
    pair.address.lead_to(pair.replica.port)
    ids += application.track(100).ids

    wait_until(lambda: site.has_arrived(300))
    assert application.flush() == 0
    site.assert_once(ids)


@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "idle"])
def test_a_redis_that_restarts_from_an_older_log_gets_again_what_it_lost(
    servers, make_site, is_busy
):
    server = servers.start()
    site = make_site(server.url)
    application = site.driver()
    ids = application.track(100).ids
    assert application.flush() == 0
    wait_until(lambda: _is_flushed(server), what="the log is on the disk")
    older = server.directory / "older"
    shutil.copytree(server.directory / "appendonlydir", older)
    ids += application.track(300).ids
    assert application.flush() == 0
    assert server.count() == 400

    if is_busy:
        application.begin(every_seconds=0.001)
    server.kill()
    shutil.rmtree(server.directory / "appendonlydir")
    older.rename(server.directory / "appendonlydir")
    server.begin()
    wait_until(lambda: server.count() >= 400)
    if is_busy:
        ids += application.pause().ids

    assert application.flush() == 0
    site.assert_once(ids)


def test_a_redis_that_lost_everything_gets_again_what_was_shipped_within_the_window(
    servers, make_site
):
    server = servers.start()
    site = make_site(server.url)
    application = site.driver()
    ids = application.track(300, profile={"first_name": "Ada"}).ids
    assert application.flush() == 0
    server.kill()
    shutil.rmtree(server.directory / "appendonlydir")
    server.begin()

    wait_until(lambda: site.has_arrived(300))
    assert application.flush() == 0
    site.assert_once(ids)
    assert len(set(site.arrived("profiles"))) == len(site.arrived("profiles")) == 300


def test_a_single_lane_that_falls_back_gets_again_what_it_lost(servers, make_site):
    # Each lane has a slot of its own, so in a cluster it may fail over alone.
    server = servers.start()
    site = make_site(server.url)
    application = site.driver()
    ids = application.track(50, profile={"first_name": "Ada"}).ids
    assert application.flush() == 0
    client = server.client
    older = {key: client.dump(key) for key in client.keys("kr:{default:profiles}:*")}
    ids += application.track(100, profile={"first_name": "Ada"}).ids
    ids += application.track(300).ids
    assert application.flush() == 0
    for key, value in older.items():
        client.restore(key, 0, value, replace=True)
    client.close()
    assert server.count("profiles") == 50

    ids += application.track(1, profile={"first_name": "Ada"}).ids

    assert application.flush() == 0
    site.assert_once(ids)
    assert len(set(site.arrived("profiles"))) == len(site.arrived("profiles")) == 151


def _is_flushed(server) -> bool:
    client = server.client
    info = client.info("persistence")
    client.close()
    return info["aof_pending_bio_fsync"] == 0 and info["aof_buffer_length"] == 0
