"""Redis refuses, stalls, loads, is full or only a replica: calls stay fast, and nothing is lost."""

from __future__ import annotations

import pytest

from klaviyo_relay.redis_clients import connect
from klaviyo_relay_worker.embedded import PrivateRedis
from waiting import wait_until

# A call takes some 30 us; a round trip that hangs, seconds.
MEDIAN_SECONDS, MOST_SECONDS = 0.001, 0.5
COUNT = 400


class Weather:
    """What may happen to a server, and its end."""

    def __init__(self, server: PrivateRedis) -> None:
        self.server = server
        self.redis = connect(server.url)

    def refused(self) -> None:
        self.server.stop()

    def refused_over(self) -> None:
        self.server.start()

    def killed(self) -> None:
        self.server.kill()

    killed_over = refused_over

    def stopped(self) -> None:
        self.server.pause()

    def stopped_over(self) -> None:
        self.server.resume()

    def full(self) -> None:
        self.redis.config_set("maxmemory-policy", "noeviction")
        self.redis.config_set("maxmemory", 100_000)

    def full_over(self) -> None:
        self.redis.config_set("maxmemory", 0)

    def read_only(self) -> None:
        # Its primary is nobody: it goes on with the data that it has, and takes no writes.
        self.redis.config_set("replica-serve-stale-data", "yes")
        self.redis.execute_command("REPLICAOF", "127.0.0.1", "1")

    def read_only_over(self) -> None:
        self.redis.execute_command("REPLICAOF", "NO", "ONE")

    def denied(self) -> None:
        self.redis.execute_command("ACL", "SETUSER", "default", "-evalsha", "-eval")

    def denied_over(self) -> None:
        self.redis.execute_command("ACL", "SETUSER", "default", "+@all")

    def without_replicas(self) -> None:
        self.redis.config_set("min-replicas-to-write", 1)

    def without_replicas_over(self) -> None:
        self.redis.config_set("min-replicas-to-write", 0)

    def forgotten_scripts(self) -> None:
        self.redis.script_flush()
        self.redis.client_kill_filter(_type="normal", skipme=True)

    def forgotten_scripts_over(self) -> None:
        self.redis.script_flush()


@pytest.fixture
def weather(server):
    made = Weather(server)
    yield made
    made.redis.close()


@pytest.mark.parametrize(
    "kind",
    ["refused", "killed", "stopped", "full", "read_only", "denied", "without_replicas",
     "forgotten_scripts"],
)  # fmt: skip
def test_calls_stay_fast_and_all_arrive_once_when_redis_is_back(weather, make_site, kind):
    site = make_site(weather.server.url)
    application = site.driver()
    # The first is there before, so the weather comes over a connection in use.
    ids = application.track(50).ids
    assert application.flush() == 0

    getattr(weather, kind)()
    during = application.track(COUNT)
    ids += during.ids
    left = application.flush(timeout=0.3)
    during_too = application.track(50, profile={"first_name": "Ada"})
    ids += during_too.ids
    getattr(weather, f"{kind}_over")()
    after = application.track(50)
    ids += after.ids

    assert during.errors == during_too.errors == after.errors == []
    assert during.median < MEDIAN_SECONDS
    assert max(during.seconds + during_too.seconds) < MOST_SECONDS
    assert left == (0 if kind == "forgotten_scripts" else COUNT)
    assert application.flush() == 0
    site.assert_once(ids)
    assert len(site.arrived("profiles")) == 50


def test_a_process_that_begins_while_redis_is_away_delivers_later(weather, make_site):
    site = make_site(weather.server.url)
    weather.refused()
    application = site.driver()
    during = application.track(COUNT)
    weather.refused_over()

    assert during.errors == []
    assert during.median < MEDIAN_SECONDS
    assert application.flush() == 0
    site.assert_once(during.ids)


def test_a_disk_that_the_spool_has_filled_has_room_again_once_redis_has_everything(
    server, make_site
):
    site = make_site(server.url)
    server.pause()
    orphans = site.run("for _ in range(3): track()\nos._exit(0)")
    (orphan,) = site.spool_files()
    application = site.start(
        """
        import resource
        from klaviyo_relay import shipment
        from klaviyo_relay.errors import SpoolFullError
        shipment.RESHIP_SECONDS = 1.0
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        try:
            while True:
                track()
        except SpoolFullError:
            print("full", flush=True)
        sys.stdin.readline()
        track()
        sys.stdin.readline()
        """
    )
    ids = orphans
    while (line := application.line()) != "full":
        ids.append(line)
    (full,) = set(site.spool_files()) - {orphan}

    server.resume()
    wait_until(lambda: site.has_arrived(len(ids)), what="all arrive, and the orphan's")
    wait_until(lambda: not full.exists(), what="the full file is removed")
    application.tell("")
    ids.append(application.line())

    wait_until(lambda: site.has_arrived(len(ids)), what="the spool is used again")
    assert set(site.spool_files()) - {orphan, full}
    application.tell("")
    assert application.ids() == []
    site.assert_once(ids)


def test_while_redis_loads_its_data_calls_stay_fast_and_all_arrive_once(servers, make_site):
    server = servers.start()
    site = make_site(server.url)
    application = site.driver()
    ids = application.track(50).ids
    assert application.flush() == 0
    client = connect(server.url)
    with client.pipeline(transaction=False) as pipe:
        for number in range(4_000):
            pipe.set(f"filler:{number}", number)
        pipe.execute()
    client.bgrewriteaof()  # a snapshot answers more often while it is loaded than a log does
    wait_until(server.is_rewritten, what="the log is rewritten")
    client.close()
    server.kill()

    # Half a millisecond for each of its keys.
    server.begin("key-load-delay 500", "loading-process-events-interval-bytes 1024", is_ready=False)
    server.await_loading()
    during = application.track(COUNT)
    ids += during.ids
    assert application.flush(timeout=0.3) == COUNT
    server.await_ready()

    assert during.errors == []
    assert during.median < MEDIAN_SECONDS
    assert max(during.seconds) < MOST_SECONDS
    assert application.flush() == 0
    site.assert_once(ids)


def test_answers_that_are_lost_double_nothing(server, make_site, forwarder):
    link = forwarder(server_port(server))
    site = make_site(server.url)
    # Its own settings lead through the link; the spool's name does not matter here.
    application = site.driver(KLAVIYO_RELAY_REDIS_URL=link.url(server.url))
    application.begin(every_seconds=0.001)
    for _ in range(10):
        before = len(site.arrived())
        wait_until(lambda before=before: site.has_arrived(before + 1), what="it ships again")
        # What Redis answers from here on goes nowhere; then the connection ends.
        link.swallow_answers()
        link.wait_for_swallowed()
        link.drop()
    tracked = application.pause()

    assert tracked.errors == []
    assert application.flush() == 0
    site.assert_once(tracked.ids)


def server_port(server: PrivateRedis) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])
