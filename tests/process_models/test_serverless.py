"""Processes that are frozen right after a call: `ship="sync"`."""

from __future__ import annotations

import signal

from waiting import wait_until

SYNC = {"KLAVIYO_RELAY_SHIP": "sync", "KLAVIYO_RELAY_SYNC_SECONDS": "0.7"}
HANDLER = """
    for line in sys.stdin:
        began = time.monotonic()
        identity = klaviyo.track("M", email="ada@lovelace.dev")
        say(f"{identity} {time.monotonic() - began}")
"""


def call(program):
    program.tell("call")
    identity, seconds = program.line().split()
    return identity, float(seconds)


def test_a_command_is_in_redis_before_the_call_returns(site):
    program = site.start(HANDLER, **SYNC)
    ids = []
    for _ in range(20):
        identity, _ = call(program)
        ids.append(identity)
        # Frozen, as a serverless platform does it: its thread runs no more.
        program.send(signal.SIGSTOP)
        site.assert_once(ids)
        program.send(signal.SIGCONT)


def test_a_handler_that_is_killed_after_each_call_has_delivered(site):
    ids = []
    for _ in range(3):
        ids += site.run("track(); os._exit(0)", **SYNC)
        site.assert_once(ids)


def test_without_redis_the_call_returns_in_time_and_the_command_is_in_the_spool(server, make_site):
    site = make_site(server.url)
    program = site.start(HANDLER, **SYNC)
    ids = [call(program)[0]]

    server.pause()
    for _ in range(2):
        identity, seconds = call(program)
        ids.append(identity)
        assert 0.5 < seconds < 1.7
    server.resume()
    server.stop()
    for _ in range(2):
        identity, seconds = call(program)
        ids.append(identity)
        assert 0.5 < seconds < 1.7
    program.send(signal.SIGKILL)
    program.ids(status=-signal.SIGKILL)
    server.start()
    site.ship_orphans()

    site.assert_once(ids)


def test_a_handler_goes_back_to_fast_calls_once_redis_is_back(server, make_site):
    site = make_site(server.url)
    program = site.start(HANDLER, **SYNC)
    server.stop()
    ids = [call(program)[0]]
    server.start()
    wait_until(lambda: len(site.arrived()) == 1)

    for _ in range(5):
        identity, seconds = call(program)
        ids.append(identity)
        assert seconds < 0.5
        site.assert_once(ids)
