"""Spool and shipper under any sequence of troubles, against a model that is a list for each file.

A process dies as the kernel would see it: its files are put back as they were before SQLite closed
them. Time passes by a turned clock and by marks that are dated back.
"""

import logging
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from klaviyo_relay import Settings, lane_entrance, orphans, shipment
from klaviyo_relay.errors import BackpressureError
from klaviyo_relay.keys import Keys, split
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.orphans import ship_orphans
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.shipment import FileShipment
from klaviyo_relay.spool import OwnSpool, files_of, milliseconds
from klaviyo_relay_worker.embedded import PrivateRedis

LANES = ["default:events", "default:profiles"]
# A snapshot is not restored later than this: Redis dates marks in whole seconds.
WINDOW_SECONDS = shipment.RESHIP_SECONDS - 1
PAGE_BYTES = 2048
# In such a page: many rows to a page, a few, one on several.
SIZES = st.sampled_from([8, 8, 500, 5_000])


class Clock:
    """The shipper's monotonic clock, to be turned."""

    ahead = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead


class LossyEntrance(LaneEntrance):
    """Loses the next request, or the answer to it."""

    loses = ""
    calls = 0

    def ship(self, lane, source, numbered, left_at=0):
        self.calls += 1
        assert self.calls < 10_000, "the shipper goes round in circles"
        loses, self.loses = self.loses, ""
        if loses == "request":
            raise RedisConnectionError
        shipped = super().ship(lane, source, numbered, left_at)
        if loses == "answer":
            raise RedisConnectionError
        return shipped

    def fill(self, is_full):
        self._lane_max_bytes = 0 if is_full else 10**9

    @property
    def is_full(self):
        return self._lane_max_bytes == 0


def handed_out(path, last):
    """What SQLite itself still reads of a file, each row by itself: {row: (lane, message)}."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for file in files_of(path)[:2]:
            if file.exists():
                shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / path.name)) as connection:
            for row in range(1, last + 1):
                with suppress(sqlite3.DatabaseError):
                    query = "SELECT row, lane, message FROM rows WHERE row = ?"
                    for number, lane, message in connection.execute(query, (row,)):
                        found[number] = (lane, message)
            with suppress(sqlite3.DatabaseError):
                for number, lane, message in connection.execute(
                    "SELECT row, lane, message FROM rows"
                ):
                    found.setdefault(number, (lane, message))
    return found


class Troubles(RuleBasedStateMachine):
    server: PrivateRedis
    directory: Path
    clock: Clock

    @initialize()
    def begin(self):
        self.redis = connect(self.server.url)
        self.redis.flushall()
        folder = Path(tempfile.mkdtemp(dir=self.directory))
        self.settings = Settings(redis_url=self.server.url, spool_dir=folder)
        self.entrance = LossyEntrance(self.redis, Keys(), 10**9)
        self.rows = {}  # of each source: its rows (lane, message), the first is number 1
        self.dead = {}  # source -> path
        self.owed = {}  # of each damaged source: {row: (lane, message)} that are still readable
        self.altered = {}  # of each damaged source: what SQLite hands out and nobody appended
        self.snapshot = None
        self.fell_back = False  # and the shipper has not noticed
        self.open()

    def open(self):
        self.own = OwnSpool.create(self.settings.spool_directory, self.settings.digest)
        self.shipment = FileShipment(self.own)
        self.rows[self.own.source] = []

    # --- the good days ---

    @rule(
        lane=st.sampled_from(LANES),
        sizes=st.lists(SIZES, min_size=1, max_size=5),
        loses=st.sampled_from(["nothing", "request", "answer", "not shipped"]),
    )
    def append(self, lane, sizes, loses):
        mine = self.rows[self.own.source]
        new = [b"%s:%d|" % (self.own.source.encode(), len(mine) + n) + b"x" * size
               for n, size in enumerate(sizes)]  # fmt: skip
        self.own.append([(lane, milliseconds(), message) for message in new])
        mine += [(lane, message) for message in new]
        if loses != "not shipped":
            self.lose(loses)

    @rule()
    def ship(self):
        self.shipment.ship_some(self.entrance)

    @rule()
    def adopt(self):
        besides = self.own.source
        try:
            ship_orphans(self.entrance, self.settings, besides)
        except BackpressureError:
            assert self.entrance.is_full
        for source, owed in list(self.owed.items()):
            is_gone = not self.dead[source].exists()
            if is_gone or not self.entrance.is_full:
                found = self.numbers_of(source)
                assert owed.keys() <= found, "rows that can be read did not arrive"
            if is_gone:  # removed, or set aside for people
                self.owed[source] = {}

    @rule(seconds=st.sampled_from([4, 11]))
    def time_passes(self, seconds):
        self.notice()
        self.clock.ahead += seconds
        self.date_marks_back(seconds)
        self.shipment.tidy()

    # --- Redis ---

    @rule(what=st.sampled_from(["request", "answer"]))
    def lose(self, what):
        self.entrance.loses = what
        with suppress(RedisConnectionError):
            self.shipment.ship_some(self.entrance)
        self.entrance.loses = ""

    @rule(what=st.sampled_from(["request", "answer"]))
    def lose_in_adoption(self, what):
        self.entrance.loses = what
        with suppress(RedisConnectionError, BackpressureError):
            ship_orphans(self.entrance, self.settings, self.own.source)
        self.entrance.loses = ""

    @rule(is_full=st.booleans())
    def fill_lanes(self, is_full):
        self.entrance.fill(is_full)

    @rule()
    def take_snapshot(self):
        self.snapshot = (self.clock.ahead, {key: self.redis.dump(key) for key in self.keys()})

    @precondition(lambda self: self.snapshot)
    @rule()
    def fall_back(self):
        taken, dumps = self.snapshot
        if self.clock.ahead - taken >= WINDOW_SECONDS:
            return
        for key, dump in dumps.items():
            self.redis.delete(key)
            if dump is not None:
                self.redis.restore(key, 0, dump)
        self.date_marks_back(self.clock.ahead - taken)
        self.fell_back = True

    @rule(lane=st.sampled_from(LANES))
    def fall_back_while_commands_come_in(self, lane):
        self.take_snapshot()
        self.append(lane, [8], "nothing")
        self.fall_back()
        self.append(lane, [8], "nothing")

    @precondition(lambda self: self.fell_back)
    @rule()
    def notice(self):
        """Redis's run id or replication id is another one; the shipper looks each second."""
        if self.fell_back:
            self.shipment.restart(self.entrance)
            self.fell_back = False

    # --- the process and its disk ---

    @rule(is_in_file=st.booleans())
    def crash(self, is_in_file):
        if is_in_file:
            self.own.checkpoint()
        path = self.own.path
        left = {file: file.read_bytes() for file in files_of(path)[:2] if file.exists()}
        self.own.close()
        for file in files_of(path):
            file.unlink(missing_ok=True)
        for file, content in left.items():
            file.write_bytes(content)
        self.dead[self.own.source] = path
        self.fell_back = False  # whoever adopts begins at the marks
        self.open()

    @precondition(lambda self: any(path.exists() for path in self.dead.values()))
    @rule(data=st.data(), is_log=st.booleans(), is_cut=st.booleans(), flip=st.integers(1, 255))
    def damage(self, data, is_log, is_cut, flip):
        there = [source for source, path in self.dead.items() if path.exists()]
        source = data.draw(st.sampled_from(there))
        file = files_of(self.dead[source])[is_log]
        if not file.exists() or not file.stat().st_size:
            return
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        if is_cut:
            del content[at:]
        else:
            content[at] ^= flip
        file.write_bytes(content)
        self.expect_what_is_readable(source)

    @rule(lane=st.sampled_from(LANES), data=st.data())
    def crash_with_a_bad_page(self, lane, data):
        self.append(lane, [500] * 5, "not shipped")
        source, path = self.own.source, self.own.path
        self.crash(is_in_file=True)
        content = bytearray(path.read_bytes())
        page = data.draw(st.sampled_from(range(len(content) // PAGE_BYTES - 1, 0, -1)))
        content[page * PAGE_BYTES : page * PAGE_BYTES + 8] = bytes(8)
        path.write_bytes(content)
        self.expect_what_is_readable(source)

    def expect_what_is_readable(self, source):
        appended = dict(enumerate(self.rows[source], 1))
        found = handed_out(self.dead[source], len(appended))
        self.owed[source] = {n: row for n, row in found.items() if appended.get(n) == row}
        self.altered.setdefault(source, set()).update(
            (number, *row) for number, row in found.items() if appended.get(number) != row
        )

    # --- what must be true ---

    @invariant()
    def nothing_is_there_twice_or_out_of_order_or_was_never_appended(self):
        for lane in LANES:
            numbers, entries = {}, self.entries(lane)
            for source, number, message in entries:
                numbers.setdefault(source, []).append(number)
                rows = self.rows[source]
                if 0 < number <= len(rows) and rows[number - 1] == (lane, message):
                    continue
                assert (number, lane, message) in self.altered.get(source, ()), "never appended"
            assert all(a < b for mine in numbers.values() for a, b in pairwise(mine))
            counts = self.redis.hgetall(Keys().lane(*split(lane)).counts)
            assert int(counts.get(b"accepted", 0)) == len(entries)
            assert int(counts.get(b"bytes", 0)) == sum(len(message) for *_, message in entries)

    def teardown(self):
        if not hasattr(self, "own"):
            return
        try:
            self.calm_comes()
        finally:
            self.own.close()
            self.redis.close()

    def calm_comes(self):
        self.entrance.fill(is_full=False)
        self.notice()
        while self.shipment.ship_some(self.entrance):
            pass
        assert self.shipment.left == 0
        self.adopt()
        self.nothing_is_there_twice_or_out_of_order_or_was_never_appended()
        for source, rows in self.rows.items():
            if source in self.owed:
                continue
            for lane in LANES:
                mine = [number for number, row in enumerate(rows, 1) if row[0] == lane]
                found = [number for origin, number, _ in self.entries(lane) if origin == source]
                assert found == mine
                assert self.entrance.mark(lane, source) == max(mine, default=0)
        self.time_passes(11)
        self.adopt()
        left = [path for source, path in self.dead.items() if source not in self.owed]
        assert not any(path.exists() for path in left)

    # --- looks and turns ---

    def keys(self):
        lanes = [Keys().lane(*split(lane)) for lane in LANES]
        return [key for lane in lanes for key in (lane.stream, lane.marks, lane.counts)]

    def entries(self, lane):
        found = self.redis.xrange(Keys().lane(*split(lane)).stream)
        origins = [(fields[b"o"].decode().partition(":"), fields[b"e"]) for _, fields in found]
        return [(source, int(number), message) for (source, _, number), message in origins]

    def numbers_of(self, source):
        return {
            number for lane in LANES for mine, number, _ in self.entries(lane) if mine == source
        }

    def date_marks_back(self, seconds):
        for lane in LANES:
            key = Keys().lane(*split(lane)).marks
            for source, mark in self.redis.hgetall(key).items():
                number, _, at = mark.partition(b"@")
                self.redis.hset(key, source, b"%s@%d" % (number, int(at) - int(seconds)))


def test_whatever_happens_each_command_arrives_once_and_in_order(
    private_redis, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.CRITICAL, "klaviyo_relay")
    clock = Clock()
    monkeypatch.setattr(shipment, "time", clock)
    monkeypatch.setattr(orphans, "time", clock)
    monkeypatch.setattr(shipment, "BATCH_COMMANDS", 3)
    monkeypatch.setattr(lane_entrance, "BATCH_COMMANDS", 3)
    monkeypatch.setattr(shipment, "DELETE_ROWS", 2)
    made = {"server": private_redis, "directory": tmp_path, "clock": clock}

    run_state_machine_as_test(
        type("Machine", (Troubles,), made),
        settings=hypothesis_settings(max_examples=100, stateful_step_count=25, deadline=None),
    )
