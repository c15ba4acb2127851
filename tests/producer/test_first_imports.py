"""First imports, in programs of their own: of a module that is slow to import."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.usefixtures("unmeasured")

SLOW = """
import time
until = time.monotonic() + 0.3
while time.monotonic() < until:
    pass
value = 1
"""
PRELUDE = """
import os, signal, sys, threading, time
from klaviyo_relay.first_imports import import_whole

def value():
    import_whole("slow")
    from slow import value
    return value

def value_in_a_thread():
    thread = threading.Thread(target=value)
    thread.start()
    thread.join()

def ended_well(child, seconds=5):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return False
"""


@pytest.fixture
def said(tmp_path):
    """What a program printed, which may import a slow module."""

    def run(code, module=SLOW):
        (tmp_path / "slow.py").write_text(module)
        code = f"{PRELUDE}\nsys.path.insert(0, {str(tmp_path)!r})\n{textwrap.dedent(code)}"
        command = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30)
        return done.stdout.split()

    return run


def test_a_child_forked_while_another_thread_imports_has_the_module_whole(said):
    code = """
        thread = threading.Thread(target=value)
        thread.start()
        while "slow" not in sys.modules:
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            os._exit(0 if value() == 1 else 1)
        print(ended_well(child))
    """

    assert said(code) == ["True"]


def test_a_signal_handler_that_runs_in_the_middle_of_an_import_has_the_module_whole(said):
    code = """
        signal.signal(signal.SIGALRM, lambda *_: print("handler", value()))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        print("program", value())
    """

    assert said(code) == ["handler", "1", "program", "1"]


def test_a_child_that_a_signal_handler_forks_in_the_middle_of_an_import_goes_on(said):
    code = """
        def fork(*_):
            child.append(os.fork())
        child = []
        signal.signal(signal.SIGALRM, fork)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        value()
        if child == [0]:
            os._exit(0)
        print(ended_well(*child))
    """

    assert said(code) == ["True"]


def test_a_process_that_can_have_no_more_threads_imports_all_the_same(said):
    code = """
        import _thread
        def refuse(*_):
            raise RuntimeError("can't start new thread")
        _thread.start_new_thread = refuse
        print(value())
    """

    assert said(code) == ["1"]


@pytest.mark.parametrize("call", ["value", "value_in_a_thread"])
def test_what_a_module_raises_is_raised_to_who_imports_it_each_time(said, call):
    code = f"""
        threading.excepthook = lambda raised: print(raised.exc_value)
        for _ in range(2):
            try:
                {call}()
            except ValueError as error:
                print(error)
    """

    assert said(code, 'raise ValueError("broken")') == ["broken", "broken"]


def test_a_handler_that_strikes_an_import_of_the_programs_own_does_not_hang(said):
    # Nobody can finish that import but the main thread, which runs the handler.
    code = """
        def strike(*_):
            began = time.monotonic()
            try:
                value()
            except ImportError:
                print(time.monotonic() - began < 10)
        signal.signal(signal.SIGALRM, strike)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        import slow
    """

    assert said(code) == ["True"]


def test_a_child_forked_while_another_thread_waits_in_a_module_for_loggings_lock_does_not_hang(
    said,
):
    # As redis does: it gets itself a logger.
    module = f"{SLOW}\nimport logging\nlogging.getLogger('slow')"
    code = """
        thread = threading.Thread(target=value)
        thread.start()
        while "slow" not in sys.modules:
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            os._exit(0 if value() == 1 else 1)
        print(ended_well(child))
    """

    assert said(code, module) == ["True"]
