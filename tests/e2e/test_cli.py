"""The command line, as a person types it."""

from __future__ import annotations

import json
import socketserver
import threading

import pytest

from klaviyo_relay import Producer, Settings, Track
from klaviyo_relay_worker.embedded import PrivateRedis
from spool_files import EVENTS, closed_to_us, left_behind


def test_a_tracked_event_waits_in_its_lane_and_status_says_so(site):
    tracked = site.run(
        "track", "Placed Order", "--email", "ada@shop.io", "--value", "0",
        "--value-currency", "EUR", "--properties", '{"a": [1]}',
    )  # fmt: skip
    assert (tracked.returncode, tracked.stderr) == (0, "")
    status = site.run("status", "--json")
    assert status.returncode == 0
    report = json.loads(status.stdout)
    lane = report["accounts"]["default"]["lanes"]["events"]
    assert (lane["accepted"], lane["backlog"], lane["delivered"], lane["dead"]) == (1, 1, 0, 0)
    assert (report["lost"], report["spool"]["pending"]) == (0, 0)
    assert set(lane) >= {"dropped", "discarded", "following", "oldest_seconds", "breaker", "paused"}
    [(_, fields)] = site.redis.xrange(site.settings.keys.lane("default", "events").stream)
    envelope = json.loads(fields[b"e"])
    assert envelope["id"] == tracked.stdout.strip()
    assert envelope["command"]["value"] == 0


def test_status_for_people_shows_every_lane(site):
    site.enqueue(Track(metric="M", email="a@shop.io"))
    shown = site.run("status").stdout
    assert "default:events" in shown
    assert "lost: 0" in shown


def test_a_lost_command_is_an_exit_code(site):
    site.enqueue(Track(metric="M", email="a@shop.io"))
    site.redis.delete(site.settings.keys.lane("default", "events").stream)
    assert site.run("status").returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("track", "M"),
        ("track", "M", "--email", "nobody"),
        ("track", "M", "--email", "a@shop.io", "--properties", "[1"),
        ("identify",),
        ("no-such-verb",),
        ("dead", "redrive"),
    ],
    ids=["nobody", "no address", "no json", "nobody at all", "unknown", "neither ids nor all"],
)
def test_wrong_usage_exits_2(site, arguments):
    done = site.run(*arguments)
    assert done.returncode == 2
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_spool_is_seen_and_flushed(site_of):
    with PrivateRedis() as server:
        server.stop()
        site = site_of(server.url)
        tracked = site.run("track", "M", "--email", "a@shop.io")
        assert tracked.returncode == 0
        assert "Redis does not answer" in tracked.stderr
        status = json.loads(site.run("spool", "status").stdout)
        assert (status["pending"], status["orphans"]) == (1, 1)
        assert site.run("spool", "flush").returncode == 1
        failed = site.run("status")
        assert (failed.returncode, "Traceback" in failed.stderr) == (1, False)
        server.start()
        flushed = site.run("spool", "flush")
        assert (flushed.returncode, "0 commands left" in flushed.stdout) == (0, True)
        assert ":***@" in flushed.stdout
        assert site.lane("events")["backlog"] == 1


def test_wrong_settings_exit_2_with_every_fault(site):
    done = site.run(
        "worker",
        KLAVIYO_API_URL="http://a.klaviyo.com",
        KLAVIYO_RELAY_CONCURRENCY="many",
        KLAVIYO_RELAY_NAMESPACE="a b",
    )
    assert done.returncode == 2
    assert done.stderr.count("klaviyo-relay: ") == 3
    for name in ("KLAVIYO_API_URL", "KLAVIYO_RELAY_CONCURRENCY", "KLAVIYO_RELAY_NAMESPACE"):
        assert name in done.stderr


def test_a_worker_without_a_key_names_the_variable(site):
    done = site.run("worker", KLAVIYO_API_KEY=None)
    assert done.returncode == 2
    assert "KLAVIYO_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


class OldRedis(socketserver.StreamRequestHandler):
    """Speaks as much of Redis as a client needs to learn the version."""

    info = b"# Server\r\nredis_version:6.2.14\r\n"

    def handle(self):
        while head := self.rfile.readline():
            parts = []
            for _ in range(int(head[1:])):
                length = int(self.rfile.readline()[1:])
                parts.append(self.rfile.read(length + 2)[:-2])
            self.wfile.write(self.answer(parts[0].upper()))

    def answer(self, command):
        if command == b"INFO":
            return b"$%d\r\n%s\r\n" % (len(self.info), self.info)
        if command == b"HELLO":
            return b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n"
        return b"+PONG\r\n" if command == b"PING" else b"+OK\r\n"


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (b"redis_version:6.2.14\r\n", "Redis 6.2.14 is too old; Redis 7.0"),
        (b"redis_version:7.2.4\r\nvalkey_version:7.1.9\r\n", "Valkey 7.1.9 is too old; Valkey 7.2"),
    ],
    ids=["redis", "valkey"],
)
def test_a_redis_that_is_too_old_is_refused(site_of, info, said):
    handler = type("Handler", (OldRedis,), {"info": b"# Server\r\n" + info})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        done = site_of(f"redis://127.0.0.1:{server.server_address[1]}/0").run("worker")
        server.shutdown()
        thread.join()
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_spool_of_another_redis_is_left_alone(site, tmp_path):
    staging = Settings(redis_url="redis://127.0.0.1:1/0", spool_dir=site.settings.spool_dir)
    producer = Producer(staging)
    producer.track("M", email="a@shop.io")
    producer.close(0)
    assert site.run("spool", "flush").returncode == 0
    assert site.report()["accounts"] == {}


def test_a_command_is_explained_from_its_lane_to_its_dead_letter(site, dead_ids):
    identity = dead_ids[0]
    shown = site.run("explain", identity)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "dead since" in shown.stdout
    assert "refused by a fault rule" in shown.stdout
    assert "poison" not in shown.stdout, "payloads are private"
    assert "poison" in site.run("explain", identity, "--payload").stdout
    assert site.run("dead", "redrive", identity).returncode == 0
    report = json.loads(site.run("explain", identity, "--json").stdout)
    assert [(place["place"], place["before"]) for place in report["places"]] == [("backlog", 0)]
    assert [record["what"] for record in report["journal"]][-2:] == ["dead", "redriven"]
    closed_to_us(left_behind(site.settings, EVENTS))
    unknown = site.run("explain", "nobody")
    assert unknown.returncode == 1
    assert "1 more may not be opened: ask as the user who made them" in unknown.stdout
    assert "not found in default:events; its journal goes back to" in unknown.stdout
    away = site.run("explain", "nobody", KLAVIYO_RELAY_REDIS_URL="redis://127.0.0.1:1/0")
    assert away.returncode == 1
    assert "Redis was not asked" in away.stdout
    assert "Traceback" not in away.stderr
