"""What a fork waits for, in programs of their own."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.usefixtures("unmeasured")

PRELUDE = """
import os, sys, threading, time
from klaviyo_relay.forking import let_forks_wait_for

def is_free(lock):
    taken = lock.acquire(timeout=2)
    if taken:
        lock.release()
    return taken

def fork(*locks):
    child = os.fork()
    if child == 0:
        os._exit(sum(not is_free(lock) for lock in locks))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def said(code):
    code = f"{PRELUDE}\n{textwrap.dedent(code)}"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=30
    )
    return done.stdout.split()


def test_a_child_and_its_parent_have_locks_free_that_another_thread_held_at_the_fork():
    code = """
        first, second = threading.RLock(), threading.RLock()
        let_forks_wait_for(lambda: iter((first,)))
        let_forks_wait_for(lambda: iter((second,)))
        held = threading.Event()
        def hold():
            with first, second:
                held.set()
                time.sleep(0.2)  # the fork comes meanwhile
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        print(fork(first, second))
        thread.join()
        print(is_free(first), is_free(second))
    """

    assert said(code) == ["True", "True", "True"]


def test_what_is_let_in_while_a_fork_waits_is_taken_too_and_given_back():
    code = """
        first, late = threading.RLock(), threading.RLock()
        let_forks_wait_for(lambda: iter((first,)))
        held = threading.Event()
        def hold():
            with first:
                held.set()
                time.sleep(0.2)  # the fork comes meanwhile
                let_forks_wait_for(lambda: iter((late,)))
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        print(fork(first, late))
        thread.join()
        print(is_free(first), is_free(late))
    """

    assert said(code) == ["True", "True", "True"]


def test_threads_that_fork_at_the_same_time_wait_for_each_other():
    code = """
        lock = threading.RLock()
        let_forks_wait_for(lambda: iter((lock,)))
        well = []
        def work():
            well.extend(fork(lock) for _ in range(40))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(len(well), all(well), is_free(lock))
    """

    assert said(code) == ["160", "True", "True"]
