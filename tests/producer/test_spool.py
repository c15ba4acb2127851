import gc
import itertools
import os
import random
import resource
import signal
import sqlite3
import stat
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

import descriptors
from klaviyo_relay import spool as spool_module
from klaviyo_relay.errors import SpoolError, SpoolFullError
from klaviyo_relay.salvage import salvage
from klaviyo_relay.spool import (
    LOCK_SUFFIX,
    OwnSpool,
    SpoolFile,
    SpoolLock,
    milliseconds,
    spool_paths,
)
from spool_files import DIGEST, EVENTS, PROFILES

forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def rows(*messages, lane=EVENTS, at=1):
    return [(lane, at, message) for message in messages]


def content(path):
    """What another process finds in a spool file."""
    found = SpoolFile(path)
    try:
        return [message for _, _, message in found.read(0, 1_000_000)]
    finally:
        found.close()


# --- append and read ------------------------------------------------------------------------------


def test_rows_come_back_in_order_with_their_lane_and_number(spool):
    spool.append(rows(b"a"))
    spool.append(rows(b"b", b"c", lane=PROFILES))

    assert [tuple(row) for row in spool.read(0, 10)] == [
        (1, EVENTS, b"a"),
        (2, PROFILES, b"b"),
        (3, PROFILES, b"c"),
    ]
    assert [row[0] for row in spool.read(1, 1)] == [2]
    assert spool.last_row == 3


def test_an_append_is_seen_by_others_before_it_returns(spool):
    spool.append(rows(b"a"))

    assert content(spool.path) == [b"a"]


def test_the_rows_of_one_lane_can_be_read_and_counted_alone(spool):
    for message in (b"1", b"2", b"3", b"4"):
        spool.append(rows(message))
        spool.append(rows(message, lane=PROFILES))

    assert [row[2] for row in spool.read_lane(EVENTS, 1, 7, 10)] == [b"2", b"3", b"4"]
    assert [row[2] for row in spool.read_lane(PROFILES, 0, 7, 2)] == [b"1", b"2"]
    assert spool.count(EVENTS, 1, 7) == 3
    assert spool.count(EVENTS, 0, 8) == 4
    assert spool.lanes() == {EVENTS: 7, PROFILES: 8}


def test_deleting_spares_the_other_lanes_and_what_lies_outside(spool):
    for number in range(1, 7):
        spool.append(rows(b"%d" % number, lane=(EVENTS, PROFILES)[number % 2]))

    spool.delete(EVENTS, 1, 5)

    assert [row[0] for row in spool.read(0, 10)] == [1, 3, 5, 6]


def test_the_ages_of_the_oldest_and_newest_rows_are_known(spool):
    assert spool.newest() == (0, 0)
    assert spool.oldest_at(EVENTS, 0) is None

    for at in (10, 20, 30):
        spool.append(rows(b"m", at=at))

    assert tuple(spool.newest()) == (3, 30)
    assert spool.oldest_at(EVENTS, 0) == 10
    assert spool.oldest_at(EVENTS, 2) == 30
    assert spool.oldest_at(EVENTS, 3) is None


def test_row_numbers_are_never_used_twice_even_after_all_rows_are_deleted(spool):
    spool.append(rows(b"a", b"b"))
    spool.delete(EVENTS, 0, 2)
    spool.append(rows(b"c"))

    assert [row[0] for row in spool.read(0, 10)] == [3]


def test_a_checkpoint_keeps_every_row(spool):
    spool.append(rows(*(b"%d" % number for number in range(1_000))))

    spool.checkpoint()
    spool.append(rows(b"after"))

    assert content(spool.path) == [*(b"%d" % number for number in range(1_000)), b"after"]


def test_with_checkpoints_the_log_stays_short_however_many_rows_come(spool):
    log = spool.path.with_name(spool.path.name + "-wal")
    sizes = []
    for _ in range(4):
        spool.append(rows(*[b"x" * 1_000] * 1_000))
        for _ in range(200):
            spool.append(rows(b"x" * 1_000))
        spool.checkpoint()
        sizes.append(log.stat().st_size)

    assert sizes[-1] < 1.5 * sizes[0]
    assert len(spool.read(0, 10_000)) == 4_800


def test_several_rows_are_stored_all_or_none(spool):
    spool.append(rows(b"a"))

    with pytest.raises(SpoolError):
        spool.append([(EVENTS, 1, b"b"), (None, 1, b"a lane is needed")])
    spool.append(rows(b"c"))

    assert content(spool.path) == [b"a", b"c"]
    assert [row[0] for row in spool.read(0, 10)] == [1, 2]


def test_many_threads_append_without_losing_or_doubling_a_row(spool):
    def work(name):
        for number in range(100):
            spool.append(rows(b"%d-%d" % (name, number)))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = spool.read(0, 10_000)
    assert [row[0] for row in found] == list(range(1, 1_001))
    assert len({row[2] for row in found}) == 1_000
    for name in range(10):
        mine = [row[2] for row in found if row[2].startswith(b"%d-" % name)]
        assert mine == [b"%d-%d" % (name, number) for number in range(100)]


@pytest.mark.parametrize(
    ("durability", "full", "synced"),
    [("normal", False, False), ("normal", True, True), ("full", False, True), ("full", True, True)],
)
def test_an_append_is_synced_to_the_disk_where_it_was_promised(directory, durability, full, synced):
    spool = OwnSpool.create(directory, DIGEST, durability=durability)
    levels = []
    try:
        spool._writer.set_trace_callback(
            lambda statement: (
                statement.startswith("INSERT")
                and levels.append(spool._writer.execute("PRAGMA synchronous").fetchone()[0])
            )
        )
        spool.append(rows(b"a"), full=full)
        spool._writer.set_trace_callback(None)
        after = spool._writer.execute("PRAGMA synchronous").fetchone()[0]
    finally:
        spool.close()

    assert levels == [2 if synced else 1]
    assert after == (2 if durability == "full" else 1)


# --- a crash --------------------------------------------------------------------------------------

APPENDER = """
    import os, sys
    from pathlib import Path
    from klaviyo_relay.spool import OwnSpool
    spool = OwnSpool.create(Path(sys.argv[1]), "0a1b2c3d")
    number = 0
    while True:
        several = 1 + number % 3
        names = [b"%d" % (number + extra) for extra in range(several)]
        spool.append([("default:events", 1, name) for name in names], full=number % 50 == 0)
        number += several
        if number > 60:
            spool.delete("default:events", 0, 30)
        if number % 7 == 0:
            spool.checkpoint()
        os.write(1, b"%d\\n" % number)
"""


@pytest.mark.parametrize("round_", range(5))
def test_what_was_accepted_is_in_the_file_after_kill_9_at_any_moment(directory, program, round_):
    patience = random.Random(round_).randrange(1, 400)
    process = program(APPENDER, directory)

    said = list(itertools.islice(process.stdout, patience))
    os.kill(process.pid, signal.SIGKILL)
    accepted = [int(line) for line in [*said, *process.stdout] if line.endswith("\n")]
    assert process.wait(10) == -signal.SIGKILL

    (path,) = spool_paths(directory, DIGEST)
    found = SpoolFile(path)
    stored = found.read(0, 1_000_000)
    found.close()
    numbers = [row[0] for row in stored]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] in (1, 31)
    assert numbers[-1] >= max(accepted)
    assert len(accepted) >= patience
    assert [int(row[2]) for row in stored] == [number - 1 for number in numbers]


INTERRUPTED = """
    import random, signal, sys
    from pathlib import Path
    from klaviyo_relay.errors import SpoolError
    from klaviyo_relay.spool import OwnSpool, SpoolFile

    class TimeOut(BaseException):
        pass

    armed = False

    def ring(*_):
        global armed
        if armed:
            armed = False
            raise TimeOut

    signal.signal(signal.SIGALRM, ring)
    chance = random.Random(int(sys.argv[2]))
    spool = OwnSpool.create(Path(sys.argv[1]), "0a1b2c3d")
    accepted, refused = [], 0

    # A function: what a handler raises at a loop's jump back, a `try` around the loop itself may
    # miss (CPython 3.13).
    def append_until_it_rings(rows):
        while armed:
            spool.append(rows)
            accepted.append(spool.last_row)

    for number in range(400):
        name = b"%d" % number
        several = chance.choice((1, 2))
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 3e-4))
            append_until_it_rings([("default:events", 1, name)] * several)
        except TimeOut:
            pass
        except SpoolError:
            refused += 1
        finally:
            armed = False
    other = SpoolFile(spool.path)
    missing = set(accepted) - {row[0] for row in other.read(0, 1_000_000)}
    print(len(accepted) > 20, refused, len(missing))
"""


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("seed", [7, 8])
def test_an_exception_from_a_signal_handler_inside_an_append_harms_no_later_append(
    directory, program, seed
):
    said = program(INTERRUPTED, directory, seed).communicate(timeout=30)[0]

    assert said.split() == ["True", "0", "0"]


def test_an_append_that_is_interrupted_between_two_rows_stores_nothing_and_ends(spool):
    def interrupted():
        yield (EVENTS, 1, b"a")
        raise KeyboardInterrupt

    class Rows(list):
        def __iter__(self):
            return interrupted()

    with pytest.raises(KeyboardInterrupt):
        spool.append(Rows(rows(b"a", b"b")))
    spool.append(rows(b"c"))

    assert content(spool.path) == [b"c"]


# --- files, modes, locks --------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=["000", "022", "077"])
def test_only_this_user_can_read_the_files(directory, umask):
    before = os.umask(umask)
    try:
        spool = OwnSpool.create(directory, DIGEST)
        spool.append(rows(b"a"))
        modes = {
            path.name.split(".", 1)[1]: stat.S_IMODE(path.stat().st_mode)
            for path in directory.iterdir()
        }
        spool.close()
    finally:
        os.umask(before)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert modes == {"lock": 0o600, "spool": 0o600, "spool-wal": 0o600, "spool-shm": 0o600}


def test_a_file_carries_the_digest_and_a_source_of_its_own(directory):
    made = [OwnSpool.create(directory, DIGEST) for _ in range(3)]
    other = OwnSpool.create(directory, "ffffffff")
    for one in (*made, other):
        one.close()

    assert len({one.source for one in made}) == 3
    assert all(one.path.name == f"{DIGEST}-{one.source}.spool" for one in made)
    assert {path.name for path in spool_paths(directory, DIGEST)} == {one.path.name for one in made}


def test_spool_files_are_listed_oldest_first(directory):
    made = [OwnSpool.create(directory, DIGEST) for _ in range(4)]
    for one in made:
        one.close()
    order = [made[2], made[0], made[3], made[1]]
    for age, one in enumerate(order):
        os.utime(one.path, (age, age))

    assert [path.name for path in spool_paths(directory, DIGEST)] == [o.path.name for o in order]


def test_a_directory_without_spools_lists_none(directory):
    assert list(spool_paths(directory, DIGEST)) == []


def test_a_lock_is_held_by_one_and_free_when_released(tmp_path):
    first = SpoolLock.take(tmp_path / "x.lock")

    assert SpoolLock.take(tmp_path / "x.lock") is None
    first.release()
    first.release()
    second = SpoolLock.take(tmp_path / "x.lock")

    assert second is not None
    second.release()


def test_a_lock_that_another_thread_releases_at_the_same_time_is_closed_once(tmp_path, monkeypatch):
    lock = SpoolLock.take(tmp_path / "x.lock")
    close = os.close
    closed = []

    def close_slowly(descriptor):
        closed.append(descriptor)
        if len(closed) == 1:
            lock.release()
        close(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "close", close_slowly)
        lock.release()

    assert len(closed) == 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_is_free_once_it_is_dead(directory, program, end, line_of):
    process = program(APPENDER, directory)
    line_of(process)
    (path,) = spool_paths(directory, DIGEST)

    assert SpoolLock.take(path.with_suffix(LOCK_SUFFIX)) is None
    os.kill(process.pid, end)
    process.wait(10)
    lock = SpoolLock.take(path.with_suffix(LOCK_SUFFIX))

    assert lock is not None
    lock.release()


@forks
def test_a_forked_child_lets_go_of_the_parents_lock_and_the_parent_keeps_it(spool, in_forked_child):
    spool.append(rows(b"parent"))

    def child():
        spool.lock.release()
        return SpoolLock.take(spool.lock.path) is None

    assert in_forked_child(child)
    assert SpoolLock.take(spool.lock.path) is None
    spool.append(rows(b"still there"))
    assert content(spool.path) == [b"parent", b"still there"]


@forks
def test_the_lock_is_free_when_the_parent_is_gone_though_a_child_lives(
    directory, program, until, line_of
):
    process = program(
        """
        import os, signal, sys
        from pathlib import Path
        from klaviyo_relay.spool import OwnSpool
        spool = OwnSpool.create(Path(sys.argv[1]), "0a1b2c3d")
        go, gone = os.pipe()
        pid = os.fork()
        if pid == 0:
            spool.lock.release()
            os.write(1, b"%d\\n" % os.getpid())
            os.read(0, 1)
            os._exit(0)
        os.waitpid(pid, os.WNOHANG)
        signal.pause()
        """,
        directory,
    )
    child = int(line_of(process))
    try:
        (path,) = spool_paths(directory, DIGEST)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)

        lock = until(lambda: SpoolLock.take(path.with_suffix(LOCK_SUFFIX)))

        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)


@forks
def test_a_spool_is_left_unharmed_when_a_forked_child_drops_what_it_inherited(spool):
    spool.append(rows(b"before"))
    pid = os.fork()
    if pid == 0:
        try:
            spool.lock.release()
            spool._writer = spool._reader = spool._insert = None  # the child's own references
            gc.collect()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

    spool.append(rows(b"after"))

    assert content(spool.path) == [b"before", b"after"]
    assert spool._writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@forks
def test_the_child_of_a_fork_gets_a_file_of_its_own(spool, directory, in_forked_child):
    def child():
        mine = OwnSpool.create(directory, DIGEST)
        mine.append(rows(b"child"))
        return [mine.path.name, mine.pid]

    name, pid = in_forked_child(child)
    spool.append(rows(b"parent"))

    assert name != spool.path.name
    assert pid != spool.pid
    assert content(directory / name) == [b"child"]
    assert content(spool.path) == [b"parent"]


# --- the read that the writer keeps under way ----------------------------------------------------


def test_each_append_is_committed_though_a_read_goes_on(spool):
    with closing(sqlite3.connect(spool.path)) as other:
        for number in range(1, 21):
            spool.append([(EVENTS, 0, b"%d" % number)])

            assert spool._pinned is not None
            assert other.execute("SELECT max(row) FROM rows").fetchone() == (number,)


def test_an_append_goes_on_after_somebody_else_has_written_the_file(spool):
    spool.append([(EVENTS, 0, b"1")])
    with closing(sqlite3.connect(spool.path)) as other, other:
        other.execute("INSERT INTO rows VALUES (2, ?, 0, ?)", (EVENTS, b"other"))

    spool.append([(EVENTS, 0, b"3")])

    assert [row[0] for row in spool.read(0, 10)] == [1, 2, 3]


# --- the end of a file ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["what?mode=memory", "a#b", "100%", "%41", "a b&cache=shared", os.fsdecode(b"\xff"), "../here"],
)
def test_a_directory_may_have_any_name(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for directory in (tmp_path / name, Path(name), Path(f"/{tmp_path}") / name):
        spool = OwnSpool.create(directory, DIGEST)
        spool.append(rows(b"a"))
        assert spool.path in directory.iterdir()
        assert content(spool.path) == [b"a"]
        spool.close()
        assert [message for _, _, message in salvage(spool.path).rows] == [b"a"]


LOOKER = """
    import os, signal, sys
    from pathlib import Path
    from klaviyo_relay.found_spool import locked
    with locked(Path(sys.argv[1])) as lock:
        if os.fork() == 0:
            os.write(1, b"%d\\n" % os.getpid())
            signal.pause()
        {end}
    signal.pause()
"""


@forks
@pytest.mark.parametrize("end", ["pass", "os._exit(0)"], ids=["lets go", "dies"])
def test_a_dead_processs_lock_is_free_once_its_looker_is_done_though_a_child_lives(
    directory, program, until, line_of, end
):
    spool = OwnSpool.create(directory, DIGEST)
    spool.close()
    child = int(line_of(program(LOOKER.format(end=end), spool.path)))
    try:
        lock = until(lambda: SpoolLock.take(spool.lock.path))

        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_released_lock_is_free_though_a_child_has_it_that_was_forked_without_pythons_hooks(
    tmp_path,
):
    lock = SpoolLock.take(tmp_path / "x.lock")
    inherited = os.dup(lock._descriptor)  # as such a child has it

    lock.release()

    second = SpoolLock.take(tmp_path / "x.lock")
    assert second is not None
    second.release()
    os.close(inherited)


def test_a_closed_spool_is_free_for_others(spool):
    spool.append(rows(b"a"))

    spool.close()

    lock = SpoolLock.take(spool.lock.path)
    assert lock is not None
    lock.release()


def test_a_file_that_nobody_needs_any_more_is_removed_without_trace(spool, directory):
    spool.append(rows(b"a", b"b"))

    assert spool.discard(2)

    assert list(directory.iterdir()) == []
    with pytest.raises(SpoolError):
        spool.append(rows(b"c"))


def test_a_file_with_a_row_that_came_in_meanwhile_is_not_removed(spool):
    spool.append(rows(b"a", b"b"))

    assert not spool.discard(1)

    spool.append(rows(b"c"))
    assert content(spool.path) == [b"a", b"b", b"c"]


@descriptors.listed
def test_a_removed_file_takes_no_room_on_the_disk(directory):
    spool = OwnSpool.create(directory, DIGEST)
    spool.append(rows(b"a"))
    assert any(spool.source in target for target in descriptors.open_files())

    spool.discard(1)

    assert not any(spool.source in target for target in descriptors.open_files())


# --- a disk that takes no more --------------------------------------------------------------------


@pytest.mark.parametrize("several", [1, 3], ids=["one row", "three rows"])
def test_a_full_disk_is_said_and_nothing_half_is_stored(spool, several):
    spool.append(rows(b"a" * 100))
    pages = spool._writer.execute("PRAGMA page_count").fetchone()[0]
    spool._writer.execute(f"PRAGMA max_page_count={pages + 2}").fetchall()

    with pytest.raises(SpoolFullError) as caught:  # noqa: PT012 - whichever append is the first
        for _ in range(100):
            spool.append(rows(*[b"geheim7" * 500] * several))

    assert "geheim7" not in str(caught.value)
    assert str(spool.path) in str(caught.value)
    stored = content(spool.path)
    assert len(stored) == spool.last_row == 1 + (len(stored) - 1) // several * several
    spool._writer.execute("PRAGMA max_page_count=1000000").fetchall()
    spool.append(rows(b"room again"))
    assert content(spool.path)[-1] == b"room again"


@forks
def test_a_file_that_may_not_grow_is_a_full_disk(directory, in_forked_child):
    def child():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
        spool = OwnSpool.create(directory, DIGEST)
        accepted = 0
        try:
            while accepted < 10_000:
                spool.append(rows(b"x" * 1_000))
                accepted += 1
        except SpoolFullError:
            pass
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        spool.append(rows(b"room again"))
        return accepted

    accepted = in_forked_child(child)

    (path,) = spool_paths(directory, DIGEST)
    assert 10 < accepted < 10_000
    assert content(path) == [b"x" * 1_000] * accepted + [b"room again"]


def test_a_directory_that_cannot_be_made_is_a_spool_error(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(SpoolError, match=r"file/spool"):
        OwnSpool.create(tmp_path / "file" / "spool", DIGEST)


@descriptors.listed
def test_a_file_that_cannot_be_made_leaves_nothing_behind(directory, monkeypatch):
    def refuse(*_):
        raise sqlite3.OperationalError("database or disk is full")

    directory.mkdir(parents=True, exist_ok=True)
    before = descriptors.open_files()
    monkeypatch.setattr(SpoolFile, "_connect", refuse)

    for _ in range(20):
        with pytest.raises(SpoolError, match="disk is full"):
            OwnSpool.create(directory, DIGEST)

    assert list(directory.iterdir()) == []
    assert descriptors.open_files() == before


@forks
def test_a_directory_that_may_not_be_written_is_a_spool_error(in_forked_child):
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o555)

        def child():
            if os.getuid() == 0:  # whom no mode stops
                os.setuid(65_534)
            try:
                OwnSpool.create(directory, DIGEST)
            except SpoolError as error:
                return str(error)

        assert str(directory) in in_forked_child(child)
        assert list(directory.iterdir()) == []


def test_the_clock_of_the_rows_counts_milliseconds(monkeypatch):
    monkeypatch.setattr(spool_module.time, "time_ns", lambda: 1_769_860_800_123_999_999)

    assert milliseconds() == 1_769_860_800_123


def test_a_synced_append_to_a_closed_spool_is_a_spool_error_as_well(directory):
    spool = OwnSpool.create(directory, DIGEST)
    spool.close()

    with pytest.raises(SpoolError):
        spool.append(rows(b"a"))
    with pytest.raises(SpoolError):
        spool.append(rows(b"a"), full=True)
    assert Path(spool.path).exists()
