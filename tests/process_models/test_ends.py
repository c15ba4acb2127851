"""However a process ends: what its calls returned is in the lanes, through it or another one."""

from __future__ import annotations

import signal
import sys
import time

import pytest

from waiting import wait_until

TRACK_50 = """
    for _ in range(50):
        track()
"""
TRACK_FOR_EVER = """
    while True:
        track()
"""


@pytest.mark.parametrize(
    ("end", "status"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), ("raise KeyboardInterrupt", 1)],
    ids=["at once", "sys.exit", "unhandled", "interrupted"],
)
def test_a_process_that_ends_has_shipped_though_nobody_flushed(site, end, status):
    ids = site.run(TRACK_50 + f"    {end}", status=status)

    assert len(ids) == 50
    site.assert_once(ids)


def test_a_process_that_ends_while_a_thread_still_tracks_loses_nothing(site):
    ids = site.run("""
    def work():
        while True:
            track()
    for _ in range(3):
        threading.Thread(target=work, daemon=True).start()
    for _ in range(20):
        track()
    """)
    site.ship_orphans()

    assert len(ids) >= 20
    # A thread may have been cut off between the commit and its print.
    site.assert_once(ids, unsaid=3)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os._exit(4)", 4),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
    ],
    ids=["os._exit", "abort", "SIGTERM", "segmentation fault"],
)
def test_what_a_process_that_is_cut_off_has_stored_is_shipped_by_spool_flush(site, end, status):
    ids = site.run(TRACK_50 + f"    {end}", status=status)

    site.ship_orphans()

    assert len(ids) == 50
    site.assert_once(ids)


def test_what_a_process_that_is_cut_off_has_stored_is_shipped_by_the_next_process(site):
    ids = site.run(TRACK_50 + "    os._exit(4)", status=4)

    next_one = site.driver()
    ids += next_one.track(1).ids
    wait_until(lambda: site.has_arrived(51))

    site.assert_once(ids)


def test_a_sigterm_handler_that_exits_ships_before_the_end(site):
    program = site.start(f"""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    {TRACK_FOR_EVER}
    """)
    first = [program.line() for _ in range(20)]
    program.send(signal.SIGTERM)
    ids = first + program.ids()

    # The handler may strike between the commit and the print.
    site.assert_once(ids, unsaid=1)


def test_a_sigterm_handler_that_says_goodbye_and_closes_ships_before_the_end(site):
    program = site.start("""
    def goodbye(*_):
        track()
        left = klaviyo.close(10).left
        os._exit(left)
    signal.signal(signal.SIGTERM, goodbye)
    track()
    assert klaviyo.flush(10).left == 0
    say("ready")
    signal.pause()
    """)
    first = program.line()
    assert program.line() == "ready"
    program.send(signal.SIGTERM)
    ids = [first, *program.ids()]

    assert len(ids) == 2
    site.assert_once(ids)


def test_a_second_sigterm_while_a_handler_closes_ends_the_process(server, make_site):
    # What a supervisor, or an impatient person, sends; Redis is away.
    site = make_site(server.url)
    server.stop()
    program = site.start(
        """
    def term(*_):
        say("closing")
        klaviyo.close()
        sys.exit(0)
    signal.signal(signal.SIGTERM, term)
    track()
    say("ready")
    signal.pause()
    """,
        KLAVIYO_RELAY_EXIT_SECONDS="3",
    )
    ids = [program.line()]
    assert program.line() == "ready"
    program.send(signal.SIGTERM)
    assert program.line() == "closing"
    program.send(signal.SIGTERM)
    assert program.ids(seconds=15) == ["closing"]
    server.start()
    site.ship_orphans()

    site.assert_once(ids)


def test_a_signal_handler_may_flush_track_and_close_while_the_program_closes(server, make_site):
    site = make_site(server.url)
    server.stop()
    program = site.start("""
    def term(*_):
        klaviyo.flush(0.1)
        track()
        klaviyo.close(0.1)
    signal.signal(signal.SIGALRM, term)
    track()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    klaviyo.close(2)
    track()
    klaviyo.close(0)
    """)
    ids = program.ids(seconds=15)
    server.start()
    site.ship_orphans()

    assert len(ids) == 3
    site.assert_once(ids)


@pytest.mark.parametrize("wait_ms", [1, 2, 4, 6, 8, 10, 12, 15])
def test_a_signal_handler_that_tracks_while_the_first_command_opens_the_spool_stores_both(
    site, wait_ms
):
    program = site.start(
        """
    assert "sqlite3" not in sys.modules
    signal.signal(signal.SIGALRM, lambda *_: track())
    signal.setitimer(signal.ITIMER_REAL, int(sys.argv[1]) / 1000)
    track()
    while signal.getitimer(signal.ITIMER_REAL)[0]:
        pass
    assert klaviyo.flush(10).left == 0
    """,
        wait_ms,
    )
    ids = program.ids(seconds=15)

    assert len(ids) == 2
    site.assert_once(ids)


@pytest.mark.parametrize("before", ["", "track()"], ids=["its first", "not its first"])
def test_a_command_at_the_very_end_of_a_process_is_stored(site, before):
    # Registered before our own closing, so that it comes after it; Python starts no threads then.
    ids = site.run(f"""
    import atexit
    atexit.register(track)
    {before}
    """)
    site.ship_orphans()

    assert len(ids) == 1 + bool(before)
    site.assert_once(ids)


STRUCK = """
    import random
    signal.signal(signal.SIGALRM, strike)
    chance = random.Random(int(sys.argv[1]))
    track(profile={"first_name": "Ada"})
    assert klaviyo.flush(10).left == 0
    struck = 0
    while struck < 40:
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(20e-6, 600e-6))
            while True:
                track(profile={"first_name": "Ada"})
                say(klaviyo.track("M", email="ada@lovelace.dev"))
                if not signal.getitimer(signal.ITIMER_REAL)[0]:
                    break
        except Late:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        struck += 1
"""


def test_a_command_from_a_signal_handler_inside_of_a_call_does_not_hang(site, chance):
    seed = chance.randrange(10**6)
    program = site.start(
        f"""
    class Late(Exception): pass
    def strike(*_):
        track()
    {STRUCK}
    assert klaviyo.flush(10).left == 0
    """,
        seed,
    )
    ids = program.ids(seconds=4)
    site.ship_orphans()

    site.assert_once(ids)


def test_an_exception_thrown_into_calls_by_a_signal_loses_nothing_that_was_returned(site, chance):
    # As Celery's soft time limit and KeyboardInterrupt do.
    seed = chance.randrange(10**6)
    program = site.start(
        f"""
    class Late(Exception): pass
    def strike(*_):
        raise Late
    {STRUCK}
    os._exit(0)
    """,
        seed,
    )
    ids = program.ids(seconds=15)
    site.ship_orphans()

    # A strike between the commit and the print leaves one unsaid.
    site.assert_once(ids, unsaid=40)


def test_flush_after_an_exception_thrown_into_calls_leaves_nothing_and_ends_soon(site, chance):
    seed = chance.randrange(10**6)
    program = site.start(
        f"""
    class Late(Exception): pass
    def strike(*_):
        raise Late
    {STRUCK}
    track()
    began = time.monotonic()
    assert klaviyo.flush(8).left == 0
    assert time.monotonic() - began < 5
    os._exit(0)
    """,
        seed,
    )
    program.ids(seconds=20)


def test_sigkill_at_any_moment_loses_nothing_that_was_returned(site, chance):
    ids: list[str] = []
    rounds = 8
    for _ in range(rounds):
        program = site.start("""
    def work():
        while True:
            track()
    threading.Thread(target=work, daemon=True).start()
    while True:
        track(properties={"x": "y" * 500})
        """)
        first = program.line()
        time.sleep(chance.uniform(0.0, 0.25))  # the moment is what is tested
        program.send(signal.SIGKILL)
        ids += [first, *program.ids(status=-signal.SIGKILL)]
    site.ship_orphans()

    # Each of its two threads may have been killed between the commit and the print.
    site.assert_once(ids, unsaid=2 * rounds)


def test_sigkill_while_redis_is_away_loses_nothing_that_was_returned(server, make_site, chance):
    site = make_site(server.url)
    server.stop()
    ids: list[str] = []
    for _ in range(4):
        program = site.start(TRACK_FOR_EVER)
        first = program.line()
        time.sleep(chance.uniform(0.0, 0.2))
        program.send(signal.SIGKILL)
        ids += [first, *program.ids(status=-signal.SIGKILL)]
    server.start()
    assert site.arrived() == []

    site.ship_orphans()

    site.assert_once(ids, unsaid=4)


def test_processes_that_ship_the_same_orphans_at_once_double_nothing(server, make_site):
    site = make_site(server.url)
    server.stop()
    ids = []
    for _ in range(3):
        ids += site.run("""
    for _ in range(700):
        track(properties={"x": "y" * 300})
    os._exit(0)
    """)
    server.start()

    command = [sys.executable, "-m", "klaviyo_relay_worker", "spool", "flush"]
    for one in [site.command(command) for _ in range(3)]:
        one.ids(status=None)
    site.ship_orphans()

    assert len(ids) == 2_100
    site.assert_once(ids)


def test_a_dead_processs_file_stays_for_the_window_after_it_was_shipped_however_old_its_rows(
    server, make_site
):
    # The rows waited for 11 s, as after a longer outage; the clock of the program is set back.
    site = make_site(server.url)
    server.stop()
    ids = site.run("""
    real = time.time_ns
    time.time_ns = lambda: real() - 11_000_000_000
    for _ in range(20):
        track()
    os._exit(0)
    """)
    server.start()
    for _ in range(3):
        site.ship_orphans()

    assert site.spool_files(), "removed less than a second after Redis had it"
    site.assert_once(ids)
