"""First imports: of modules that only some processes need, when they are first used.

Importing the package stays cheap for a process that never enqueues: what opens the spool, and what
speaks with Redis, come with the first use. That may be at an awkward moment:

- A child that is forked while another thread imports inherits modules that are half imported and
  locked, and nobody to finish them. So a fork waits for an import under way.
- A signal handler that runs in the middle of an import would find the same modules half imported.
  Handlers run in the main thread only, so another thread imports for it, and it waits.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from klaviyo_relay.forking import let_forks_wait_for

# Longer than most imports take. Where the main thread itself is in the middle of an import that the
# other thread needs, waiting longer would not help.
PATIENCE_SECONDS = 2.0
_importing = threading.RLock()
_whole: set[str] = set()
let_forks_wait_for(lambda: iter((_importing,)))


def import_whole(name: str) -> None:
    """See that a module is imported, before an `import` statement that would do it by itself.

    Raises:
        ImportError: as the statement would; or whatever else the module raises.
    """
    if name in _whole:
        return
    if threading.current_thread() is threading.main_thread() and _import_elsewhere(name):
        # It is there; or this says what was raised, or waits as long as it takes.
        import_module(name)
    else:
        _import(name)


def _import_elsewhere(name: str) -> bool:
    """Import in another thread, and wait for it; returns whether there is another thread."""
    # What is shared with other calls of this function would hang the handler of a signal that comes
    # in the middle of it, as threading.Thread does; this lock is this call's own.
    done = _thread.allocate_lock()
    done.acquire()
    try:
        _thread.start_new_thread(_import_quietly, (name, done.release))
    except RuntimeError:  # no more threads, or the process ends
        return False
    done.acquire(timeout=PATIENCE_SECONDS)
    return True


def _import_quietly(name: str, tell: Callable[[], None]) -> None:
    # Told under the lock, so that it has been told in a child that is forked afterwards.
    with _importing:
        with suppress(BaseException):
            _import(name)
        tell()


def _import(name: str) -> None:
    with _importing:
        import_module(name)
        _whole.add(name)
