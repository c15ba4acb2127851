"""Every way in which Python runs an application: what calls returned is in the lanes, once."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_and_their_parent_all_deliver(site, tmp_path, method):
    # spawn imports the main module anew, so it must be a file.
    main = tmp_path / "main.py"
    main.write_text("""
import multiprocessing, os, sys
import klaviyo_relay as klaviyo

def track(count):
    for number in range(count):
        identity = klaviyo.track("M", email="ada@lovelace.dev", value=number)
        os.write(1, identity.encode() + b"\\n")

def work(count):
    track(count)
    assert klaviyo.flush(15).left == 0

if __name__ == "__main__":
    track(100)
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(100,)) for _ in range(3)]
    for child in children:
        child.start()
    track(100)
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert klaviyo.flush(15).left == 0
""")

    ids = site.command([sys.executable, main, method]).ids()

    assert len(ids) == 500
    site.assert_once(ids)


FORK_OFTEN = """
    def child(pid_of_parent):
        # os._exit: nothing of the parent's runs on, and nothing is shipped at the end.
        try:
            for _ in range(5):
                track()
            assert klaviyo.flush(15).left == 0
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def fork(count):
        children = []
        for _ in range(count):
            for _ in range(40):
                track(properties={"x": "y" * 200})
            pid = os.fork()
            if pid == 0:
                child(os.getppid())
            children.append(pid)
        return children

    def await_all(children, seconds=15):
        deadline = time.monotonic() + seconds
        while children:
            for pid in list(children):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    assert status == 0, status
                    children.remove(pid)
            if children and time.monotonic() > deadline:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                raise AssertionError(f"{len(children)} children hang")
            time.sleep(0.005)
"""


@forks
def test_children_forked_while_the_shipper_is_busy_deliver_and_so_does_the_parent(site):
    ids = site.run(f"""{FORK_OFTEN}
    await_all(fork(12))
    assert klaviyo.flush(15).left == 0
    """)

    assert len(ids) == 12 * 45
    site.assert_once(ids)


@forks
@pytest.mark.parametrize("wait_ms", [0, 5, 15, 30, 60])
def test_a_child_forked_while_the_shipper_imports_redis_delivers_and_so_does_the_parent(
    site, wait_ms
):
    ids = site.run(
        f"""{FORK_OFTEN}
    assert "redis" not in sys.modules
    track()
    # The thread has begun now; this is where in its imports the fork comes.
    time.sleep(int(sys.argv[1]) / 1000)
    pid = os.fork()
    if pid == 0:
        child(os.getppid())
    track()
    await_all([pid])
    assert klaviyo.flush(15).left == 0
    """,
        wait_ms,
    )

    assert len(ids) == 7
    site.assert_once(ids)


@forks
@pytest.mark.parametrize("wait_ms", [1, 3, 5, 8, 12, 20, 40])
def test_a_child_forked_while_a_thread_stores_the_first_command_delivers_and_so_does_the_thread(
    site, wait_ms
):
    ids = site.run(
        f"""{FORK_OFTEN}
    assert "sqlite3" not in sys.modules
    thread = threading.Thread(target=track)
    thread.start()
    # This is where in the opening of the spool, and in its imports, the fork comes.
    time.sleep(int(sys.argv[1]) / 1000)
    pid = os.fork()
    if pid == 0:
        child(os.getppid())
    await_all([pid])
    thread.join()
    assert klaviyo.flush(15).left == 0
    """,
        wait_ms,
    )

    assert len(ids) == 6
    site.assert_once(ids)


@forks
@pytest.mark.parametrize("wait_ms", [2, 20, 60])
def test_a_child_forked_while_a_thread_loads_or_ships_directly_for_the_first_time_does_not_hang(
    site, wait_ms
):
    said = site.run(
        f"""{FORK_OFTEN}
    import pathlib
    settings = klaviyo.Settings.from_env()
    (pathlib.Path(settings.spool_dir).parent / "file").touch()
    settings = klaviyo.Settings(
        redis_url=settings.redis_url,
        spool_dir=pathlib.Path(settings.spool_dir).parent / "file" / "spool",
    )
    def load():
        command = klaviyo.Track(metric="M", email="ada@lovelace.dev")
        assert klaviyo.enqueue_many([command], timeout=10).added == 1
        klaviyo.Producer(settings).track("M", email="ada@lovelace.dev")
    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads: thread.start()
    time.sleep(int(sys.argv[1]) / 1000)
    pid = os.fork()
    if pid == 0:
        load()
        os._exit(0)
    await_all([pid])
    for thread in threads: thread.join()
    """,
        wait_ms,
    )

    assert said == []
    assert len(site.arrived("events", "events:bulk")) == 6


@forks
def test_a_grandchild_whose_parent_is_gone_delivers(site):
    ids = site.run(f"""{FORK_OFTEN}
    track()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        track()
        if os.fork() == 0:
            os.close(read)
            child(os.getppid())  # whose end closes the pipe
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    os.read(read, 1)
    assert klaviyo.flush(15).left == 0
    """)

    site.ship_orphans()

    assert len(ids) == 7
    site.assert_once(ids)


@forks
def test_a_daemon_whose_parent_closed_before_it_ended_leaves_nothing_behind(site):
    ids = site.run(f"""{FORK_OFTEN}
    track()
    assert klaviyo.close(15).left == 0
    read, write = os.pipe()
    if os.fork():
        os._exit(os.read(read, 1) != b"+")  # once the daemon has ended; it says how
    try:
        track()
        assert klaviyo.close(15).left == 0
        os.write(write, b"+")
    finally:
        os._exit(0)
    """)

    assert len(ids) == 2
    site.assert_once(ids)


@forks
def test_a_child_of_a_process_with_two_producers_leaves_both_of_their_spools_alone(site):
    # The second producer's thread looks into the first one's file, as into any other.
    ids = site.run(f"""{FORK_OFTEN}
    other = klaviyo.Producer()
    track()
    assert klaviyo.flush(15).left == 0
    say(other.track("M", email="ada@lovelace.dev"))
    assert other.flush(15).left == 0
    pid = os.fork()
    if pid == 0:
        child(os.getppid())
    await_all([pid])
    for _ in range(300):
        track()
        say(other.track("M", email="ada@lovelace.dev"))
    assert klaviyo.flush(15).left == other.flush(15).left == 0
    """)

    assert len(ids) == 607
    site.assert_once(ids)


def test_fifty_threads_deliver(site):
    ids = site.run("""
    def work():
        for _ in range(40):
            track()
    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert klaviyo.flush(20).left == 0
    """)

    assert len(ids) == 2_000
    site.assert_once(ids)


def test_asyncio_is_never_held_and_the_async_forms_deliver(site):
    ids = site.run("""
    import asyncio, statistics
    async def main():
        track()
        seconds = []
        for number in range(2_000):
            began = time.perf_counter()
            track()
            seconds.append(time.perf_counter() - began)
            if number % 20 == 0:
                await asyncio.sleep(0)
        assert statistics.quantiles(seconds, n=100)[98] < 0.090, max(seconds)
    asyncio.run(main())
    assert klaviyo.flush(20).left == 0
    """)

    assert len(ids) == 2_001
    site.assert_once(ids)


def test_unsubscribe_async_stores_and_leaves_the_loop_free(site):
    ids = site.run("""
    import asyncio, statistics
    late = []
    async def tick():
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append(time.perf_counter() - began - 0.001)
    async def main():
        ticking = asyncio.create_task(tick())
        say(await klaviyo.unsubscribe_async(email="ada@lovelace.dev"))
        late.clear()
        for round in range(10):
            who = [f"{number}@lovelace.dev" for number in range(10)]
            calls = [klaviyo.unsubscribe_async("ABC123", email=email) for email in who]
            for identity in await asyncio.gather(*calls):
                say(identity)
        ticking.cancel()
        assert statistics.median(late) < 0.010, late
    asyncio.run(main())
    assert klaviyo.flush(20).left == 0
    """)

    assert len(ids) == 101
    site.assert_once(ids, "consent")


needs_gevent = pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")
PATCH = "from gevent import monkey; monkey.patch_all(); import gevent"


@needs_gevent
def test_greenlets_of_a_patched_process_deliver(site):
    ids = site.run(
        """
    def work():
        for _ in range(50):
            track()
            gevent.sleep(0)
    gevent.joinall([gevent.spawn(work) for _ in range(20)], raise_error=True)
    assert klaviyo.flush(20).left == 0
    """,
        first=PATCH,
    )

    assert len(ids) == 1_000
    site.assert_once(ids)


@needs_gevent
def test_greenlets_go_on_while_redis_does_not_answer_and_all_arrive_later(server, make_site):
    site = make_site(server.url)
    program = site.start(
        """
    track()
    assert klaviyo.flush(20).left == 0
    say("ready")
    sys.stdin.readline()
    late = []
    def tick():
        while True:
            began = time.perf_counter()
            gevent.sleep(0.002)
            late.append(time.perf_counter() - began - 0.002)
    ticking = gevent.spawn(tick)
    for _ in range(300):
        track()
        gevent.sleep(0.002)
    assert klaviyo.flush(0.2).left == 300
    ticking.kill()
    assert sorted(late)[len(late) // 2] < 0.010, sorted(late)[-5:]
    assert max(late) < 0.5, max(late)
    say("go on")
    assert klaviyo.flush(20).left == 0
    """,
        first=PATCH,
    )
    first = program.line()
    assert program.line() == "ready"
    server.pause()
    program.tell("go")
    ids = [program.line() for _ in range(300)]
    assert program.line() == "go on"
    server.resume()
    program.ids()

    site.assert_once([first, *ids])


@forks
@needs_gevent
def test_a_forked_child_of_a_patched_process_delivers(site):
    ids = site.run(
        """
    track()
    assert klaviyo.flush(20).left == 0
    pid = os.fork()
    if pid == 0:
        track()
        os._exit(klaviyo.flush(20).left)
    track()
    assert os.waitpid(pid, 0)[1] == 0
    assert klaviyo.flush(20).left == 0
    """,
        first=PATCH,
    )

    assert len(ids) == 3
    site.assert_once(ids)


@needs_gevent
def test_a_patched_process_that_ends_at_once_has_shipped(site):
    ids = site.run(
        """
    for _ in range(20):
        track()
    """,
        first=PATCH,
    )

    assert len(ids) == 20
    site.assert_once(ids)
