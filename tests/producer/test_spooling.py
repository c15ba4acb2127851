# ruff: noqa: PLR0917 - a fixture is an argument, and comes by name
"""The spool of a process, as its producer uses it: threads, forks, full disks, the end."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import descriptors
from klaviyo_relay import Producer, Settings
from klaviyo_relay.errors import SpoolError, SpoolFullError
from klaviyo_relay.spool import SpoolLock, spool_paths
from klaviyo_relay_worker.embedded import PrivateRedis
from spool_files import spool_of

ADA = "ada@lovelace.dev"
PHONE = "+15005550006"
QUICK_SECONDS = 0.5

forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_the_withdrawal_of_consent_and_a_deletion_are_synced_and_nothing_else(away):
    producer = Producer(away)
    producer.track("M", email=ADA)
    levels = []
    writer = spool_of(producer)._writer
    writer.set_trace_callback(
        lambda statement: (
            statement.startswith("INSERT")
            and levels.append(writer.execute("PRAGMA synchronous").fetchone()[0])
        )
    )

    producer.track("M", email=ADA)
    producer.unsubscribe(email=ADA)
    producer.track("M", email=ADA)
    producer.delete_profile(email=ADA)
    producer.identify(email=ADA)
    writer.set_trace_callback(None)

    assert levels == [1, 2, 1, 2, 1]
    producer.close()


# --- Redis away, disk full ------------------------------------------------------------------------


def test_a_redis_that_was_never_there_does_not_matter_to_a_call(away, stored_ids):
    producer = Producer(away)
    began = time.monotonic()

    ids = [producer.track("M", email=ADA) for _ in range(500)]

    assert time.monotonic() - began < 2
    assert stored_ids(away) == ids
    assert producer.flush(timeout=0.05).left == 500
    producer.close()


def test_a_full_disk_is_said_at_the_call_and_the_call_works_again_when_there_is_room(
    away, stored_ids
):
    producer = Producer(away)
    ids = [producer.track("M", email=ADA)]
    writer = spool_of(producer)._writer
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count={pages + 1}").fetchall()

    with pytest.raises(SpoolFullError):  # noqa: PT012 - whichever call is the first
        for _ in range(100):
            ids.append(  # noqa: PERF401 - those before the error count
                producer.track("M", email=ADA, properties={"x": "y" * 900})
            )
    writer.execute("PRAGMA max_page_count=100000").fetchall()
    ids.append(producer.track("M", email=ADA))

    assert stored_ids(away) == ids
    producer.close()


def test_a_spool_directory_that_cannot_be_used_is_said_and_the_next_call_tries_again(
    tmp_path, stored_ids
):
    (tmp_path / "place").touch()
    settings = Settings(
        redis_url="redis://127.0.0.1:1/0", spool_dir=tmp_path / "place" / "spool", exit_seconds=0.0
    )
    producer = Producer(settings)

    with pytest.raises(SpoolError):
        producer.track("M", email=ADA)
    (tmp_path / "place").unlink()
    identity = producer.track("M", email=ADA)

    assert stored_ids(settings) == [identity]
    producer.close()


# --- threads, asyncio -----------------------------------------------------------------------------


def test_twenty_threads_lose_no_command_and_keep_the_order_of_each(relay_settings, lanes):
    producer = Producer(relay_settings)
    together = threading.Barrier(20)
    ids = {name: [] for name in range(20)}

    def work(name):
        together.wait(10)  # the spool is opened by all at once
        for _ in range(100):
            ids[name].append(producer.track("M", email=ADA))

    threads = [threading.Thread(target=work, args=(name,)) for name in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert producer.flush(timeout=20).left == 0
    found = lanes.ids()
    place = {identity: at for at, identity in enumerate(found)}
    assert len(found) == len(place) == 2_000
    for mine in ids.values():
        places = [place[identity] for identity in mine]
        assert places == sorted(places)
    assert len(list(spool_paths(relay_settings.spool_directory, relay_settings.digest))) == 1
    producer.close()


def test_an_event_loop_is_never_blocked_for_long_though_redis_stalls(tmp_path):
    with PrivateRedis() as server:
        producer = Producer(
            Settings(redis_url=server.url, spool_dir=tmp_path / "spool", exit_seconds=0.0)
        )
        producer.track("M", email=ADA)
        assert producer.flush(10).left == 0
        server.pause()
        gaps = []

        async def heartbeat(over):
            last = time.monotonic()
            while not over.is_set():
                await asyncio.sleep(0)
                now = time.monotonic()
                gaps.append(now - last)
                last = now

        async def handlers():
            over = asyncio.Event()
            beating = asyncio.create_task(heartbeat(over))
            for _ in range(1_000):
                producer.track("M", email=ADA)
                await asyncio.sleep(0)
            over.set()
            await beating

        asyncio.run(handlers())
        server.resume()

        assert len(gaps) >= 900
        assert max(gaps) < QUICK_SECONDS
        assert producer.flush(timeout=20).left == 0
        producer.close()


# --- fork -----------------------------------------------------------------------------------------


@forks
def test_parent_and_forked_child_both_track_and_no_id_is_lost(
    producer, lanes, relay_settings, in_forked_child
):
    ids = [producer.track("M", email=ADA) for _ in range(50)]

    def child():
        mine = [producer.track("M", email=ADA) for _ in range(50)]
        assert producer.flush(timeout=10).left == 0
        producer.close(timeout=0)
        return mine

    child_ids = in_forked_child(child, seconds=20)
    ids += [producer.track("M", email=ADA) for _ in range(50)]
    assert producer.flush(timeout=10).left == 0

    found = lanes.ids()
    assert [identity for identity in found if identity in set(ids)] == ids
    assert [identity for identity in found if identity in set(child_ids)] == child_ids
    assert len(found) == 150
    assert len(list(spool_paths(relay_settings.spool_directory, relay_settings.digest))) == 2


@forks
def test_a_child_forked_while_redis_is_away_leaves_its_commands_on_the_disk(
    away, in_forked_child, stored_ids
):
    producer = Producer(away)
    ids = [producer.track("M", email=ADA) for _ in range(10)]

    child_ids = in_forked_child(lambda: [producer.track("M", email=ADA) for _ in range(10)])
    ids += [producer.track("M", email=ADA)]

    assert sorted(stored_ids(away)) == sorted(ids + child_ids)
    producer.close()


@forks
def test_a_grandchild_has_a_spool_of_its_own_too(away, in_forked_child, stored_ids):
    producer = Producer(away)
    ids = [producer.track("M", email=ADA)]

    def child():
        mine = [producer.track("M", email=ADA)]
        mine += in_forked_child(lambda: [producer.track("M", email=ADA)])
        return [*mine, producer.track("M", email=ADA)]

    ids += in_forked_child(child)
    ids.append(producer.track("M", email=ADA))

    assert sorted(stored_ids(away)) == sorted(ids)
    assert len(ids) == 5
    assert len(list(spool_paths(away.spool_directory, away.digest))) == 3
    producer.close()


@forks
def test_a_child_has_nothing_to_flush_before_its_first_command(away, in_forked_child):
    producer = Producer(away)
    producer.track("M", email=ADA)

    assert in_forked_child(lambda: [producer.flush(5).left, producer.close().left]) == [0, 0]
    assert producer.flush(0.05).left == 1
    producer.close()


@forks
def test_a_dead_parents_spool_is_free_though_its_forked_child_lives(away, program, until, line_of):
    process = program(
        """
        import os, signal, sys
        from pathlib import Path
        from klaviyo_relay import Producer, Settings
        producer = Producer(Settings(redis_url=sys.argv[1], spool_dir=Path(sys.argv[2])))
        producer.track("M", email="ada@lovelace.dev")
        if os.fork() == 0:
            os.write(1, b"%d\\n" % os.getpid())
        signal.pause()
        """,
        away.redis_url,
        away.spool_directory,
    )
    child = int(line_of(process))
    try:
        process.kill()
        process.wait(10)
        (path,) = spool_paths(away.spool_directory, away.digest)

        lock = until(lambda: SpoolLock.take(path.with_suffix(".lock")), seconds=5)

        lock.release()
    finally:
        os.kill(child, signal.SIGKILL)


@forks
def test_the_workers_of_a_process_pool_all_deliver(relay_settings, lanes):
    code = """
        import multiprocessing, sys
        from pathlib import Path
        from klaviyo_relay import Producer, Settings
        producer = Producer(Settings(redis_url=sys.argv[1], spool_dir=Path(sys.argv[2])))

        def work(number):
            identity = producer.track("M", email="ada@lovelace.dev", value=number)
            return identity, producer.flush(10).left

        if __name__ == "__main__":
            producer.track("M", email="ada@lovelace.dev")
            with multiprocessing.get_context("fork").Pool(3) as pool:
                done = pool.map(work, range(60))
            assert producer.flush(10).left == 0
            assert not sum(left for _, left in done)
            print(len({identity for identity, _ in done}))
    """
    said = run(code, relay_settings.redis_url, relay_settings.spool_directory)

    assert said == ["60"]
    assert len(set(lanes.ids())) == lanes.length() == 61


@forks
def test_a_child_forked_while_a_thread_opens_the_spool_does_not_hang(
    away, in_forked_child, stored_ids
):
    producer = Producer(away)
    opening, go_on = threading.Event(), threading.Event()

    def slow_opening():
        with producer._spooling._opening:  # where _open() is while it makes the files
            opening.set()
            go_on.wait(30)

    thread = threading.Thread(target=slow_opening)
    thread.start()
    assert opening.wait(10)
    try:
        child_id = in_forked_child(lambda: producer.track("M", email=ADA), seconds=2)
    finally:
        go_on.set()
        thread.join()
    producer.close()

    assert stored_ids(away) == [child_id]


FORK_UNDER_LOAD = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from klaviyo_relay import Producer, Settings
    producer = Producer(Settings(redis_url=sys.argv[1], spool_dir=Path(sys.argv[2])))
    producer.track("M", email="ada@lovelace.dev")
    def load():
        while True:
            producer.track("M", email="ada@lovelace.dev", properties={"x": "y" * 200})
    for _ in range(4):
        threading.Thread(target=load, daemon=True).start()
    hung = 0
    deadline = time.monotonic() + 5
    for _ in range(150):
        pid = os.fork()
        if pid == 0:
            producer.track("child", email="ada@lovelace.dev")
            os._exit(0)
        patience = time.monotonic() + 2
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > patience:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                hung += 1
                break
            time.sleep(0.001)
        if hung or time.monotonic() > deadline:
            break
    print(hung, flush=True)
    os._exit(0)
"""


@forks
@pytest.mark.usefixtures("unmeasured")
def test_a_child_forked_under_load_never_hangs(relay_settings):
    said = run(FORK_UNDER_LOAD, relay_settings.redis_url, relay_settings.spool_directory)

    assert said == ["0"]


# --- the end of a process -------------------------------------------------------------------------


def run(code, *arguments, status=0, seconds=30):
    """What a program printed, word by word; it must end with the given status."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == status
    return done.stdout.split()


BEGIN = """
    import os, signal, sys
    from pathlib import Path
    from klaviyo_relay import Producer, Settings
    producer = Producer(
        Settings(
            redis_url=sys.argv[1],
            spool_dir=Path(sys.argv[2]),
            exit_seconds=float(sys.argv[3]),
        )
    )
    for number in range(200):
        os.write(1, producer.track("M", email="ada@lovelace.dev").encode() + b"\\n")
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os._exit(0)", 0),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.abort()", -signal.SIGABRT),
        ("sys.exit(3)", 3),
        ("", 0),
    ],
)
def test_however_a_process_ends_all_that_it_was_told_is_stored_is_delivered_by_the_next(
    relay_settings, lanes, away, until, end, status, stored_ids
):
    ids = run(f"{BEGIN}    {end}", away.redis_url, away.spool_directory, 0.0, status=status)
    assert stored_ids(away) == ids

    # The files of the same spool directory, for the Redis that is there.
    for path in away.spool_directory.iterdir():
        path.rename(path.with_name(path.name.replace(away.digest, relay_settings.digest)))
    producer = Producer(relay_settings)
    mine = producer.track("M", email=ADA)

    until(lambda: lanes.length() == 201)
    assert [identity for identity in lanes.ids() if identity != mine] == ids
    producer.close()


def test_a_process_that_ends_without_flush_still_ships_within_its_exit_seconds(
    relay_settings, lanes
):
    ids = run(BEGIN, relay_settings.redis_url, relay_settings.spool_directory, 10.0)

    assert lanes.ids() == ids
    assert len(ids) == 200


def test_the_end_of_a_process_does_not_wait_longer_than_its_exit_seconds(away):
    began = time.monotonic()

    run(BEGIN, away.redis_url, away.spool_directory, 0.3)

    assert time.monotonic() - began < 5


# --- close ----------------------------------------------------------------------------------------


def test_a_closed_producer_has_flushed_and_opens_anew_with_the_next_command(relay_settings, lanes):
    producer = Producer(relay_settings)
    ids = []
    for _ in range(3):
        ids += [producer.track("M", email=ADA) for _ in range(20)]
        assert producer.close(timeout=10).left == 0

    assert lanes.ids() == ids


def test_close_says_what_is_left_and_the_rest_is_on_the_disk(away, stored_ids):
    producer = Producer(away)
    ids = [producer.track("M", email=ADA) for _ in range(5)]

    assert producer.close(timeout=0.05).left == 5
    assert producer.close().left == 0

    assert stored_ids(away) == ids


@descriptors.listed
def test_a_closed_producer_leaves_no_thread_and_no_open_file(away, until):
    Producer(away).close()
    before = threading.active_count()
    files = len(descriptors.open_files())
    for _ in range(5):
        producer = Producer(away)
        producer.track("M", email=ADA)
        producer.close()

    gc.collect()
    # The shipper's thread may still be on its way out of a call when `close` has waited enough.
    until(lambda: threading.active_count() <= before)
    assert len(descriptors.open_files()) <= files


def test_closing_what_was_never_opened_is_nothing(away):
    producer = Producer(away)

    assert producer.flush().left == 0
    assert producer.close().left == 0
    assert not away.spool_directory.exists()


CLOSED_UNDER_LOAD = """
    import os, sys, threading
    from pathlib import Path
    from klaviyo_relay import Producer, Settings
    producer = Producer(
        Settings(redis_url=sys.argv[1], spool_dir=Path(sys.argv[2]), exit_seconds=0.0)
    )
    over = threading.Event()

    def work():
        while not over.is_set():
            try:
                said = producer.track("M", email="ada@lovelace.dev")
            except Exception as error:
                said = type(error).__name__
            os.write(1, said.encode() + b"\\n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        producer.close(timeout=0)
    over.set()
    for thread in threads:
        thread.join()
    producer.close()
"""


def test_a_thread_may_track_while_another_closes(away, stored_ids):
    said = run(CLOSED_UNDER_LOAD, away.redis_url, away.spool_directory)

    # A call that meets two closings in a row is refused (Redis is away), and says so.
    assert sorted(stored_ids(away)) == sorted(word for word in said if word != "SpoolFullError")
    assert said.count("SpoolFullError") < len(said) / 20


FLUSHED_UNDER_CLOSING = """
    import sys, threading, time
    from pathlib import Path
    from klaviyo_relay import Producer, Settings
    sys.setswitchinterval(1e-6)
    producer = Producer(
        Settings(redis_url=sys.argv[1], spool_dir=Path(sys.argv[2]), exit_seconds=0.0)
    )
    over = threading.Event()

    def work():
        while not over.is_set():
            try:
                producer.flush(0)
            except Exception as error:
                print(type(error).__name__)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        producer.track("M", email="ada@lovelace.dev")
        producer.close(0)
    over.set()
    for thread in threads:
        thread.join()
"""


@pytest.mark.usefixtures("unmeasured")
def test_a_thread_may_flush_while_another_closes(away):
    assert run(FLUSHED_UNDER_CLOSING, away.redis_url, away.spool_directory) == []


def test_a_new_process_has_a_producer_of_its_own(relay_settings, lanes):
    code = BEGIN + "    print(producer.flush(10).left)\n"

    said = run(code, relay_settings.redis_url, relay_settings.spool_directory, 2.0)

    assert said[-1] == "0"
    assert lanes.ids() == said[:-1]
