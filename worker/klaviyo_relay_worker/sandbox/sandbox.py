"""The sandbox as a context manager: a server in a thread, and its state at hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from .arrangements import NewSegment, PushToken, Suppression
from .consents import Reason
from .processing import list_creation, process, replay
from .recording import Recording
from .server import SandboxServer
from .settings import Settings
from .state import Minima, State
from .times import Clock

_POLL_SECONDS = 0.02


class Sandbox:
    """A stand-in for Klaviyo on this machine.

    All times are in seconds. `clock` gives epoch seconds to limits, jobs and time stamps;
    pass your own to turn it by hand.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: bool = True,
        repeats: Literal["discard", "refuse"] = "discard",
        latency_seconds: float = 0.0,
        import_delay_seconds: float = 0.5,
        seed: int = 0,
        clock: Clock = time.time,
        record: Path | None = None,
        log: Path | None = None,
    ) -> None:
        """Prepare a sandbox; it listens from `start()` on.

        With `record` the account lives in that file: one that exists is played back first, so that
        a killed sandbox comes back with the same data, ids and settings. `seed` must be the same.
        `log` is a file to which every request is appended with its status.
        """
        settings = Settings(
            limits=limits,
            repeats=repeats,
            latency_seconds=latency_seconds,
            import_delay_seconds=import_delay_seconds,
        )
        self._address = (host, port)
        self._state = State(settings, clock, seed)
        self._record, self._log = record, log
        if record is not None:
            replay(self._state, record)
        self._server: SandboxServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Listen; connections are accepted when this returns."""
        if self._server is not None:
            raise RuntimeError("the sandbox runs already")
        self._state.stopping.clear()
        self._state.recording = Recording(self._record) if self._record else None
        self._state.log = Recording(self._log) if self._log else None
        self._server = SandboxServer(self._address, self._state)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="sandbox", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, close every connection, let all who wait go. What is known stays."""
        if self._server is None or self._thread is None:
            return
        self._state.stop()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.close_connections()
        self._state.close()
        self._server = self._thread = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        if self._server is None:
            raise RuntimeError("the sandbox does not run")
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def summary(self) -> dict[str, Any]:
        """What is recorded and what was answered, in numbers (as GET /sandbox/summary)."""
        return self._state.summary()

    def events(self) -> list[dict[str, Any]]:
        """The recorded events, in the order of recording."""
        return self._state.events()

    def profiles(self) -> list[dict[str, Any]]:
        """All profiles with their consents and list ids."""
        return self._state.profiles()

    def requests(self) -> list[dict[str, Any]]:
        """The last 10,000 requests, oldest first."""
        with self._state.store.changed:
            return self._state.journal.entries()

    def wait(
        self,
        *,
        events: int = 0,
        profiles: int = 0,
        requests: int = 0,
        members: Mapping[str, int] | None = None,
        timeout: float = 30.0,
    ) -> dict[str, Any]:
        """The summary, as soon as there are at least so many of each; else TimeoutError.

        `members` goes by list id or name.
        """
        met, summary = self._state.wait(Minima(events, profiles, requests, members or {}), timeout)
        if not met:
            raise TimeoutError(f"not reached within {timeout} s: {summary}")
        return summary

    def create_list(self, name: str, opt_in_process: str = "single_opt_in") -> str:
        """Make a list without a request; gives its id."""
        created = process(self._state, *list_creation(name, opt_in_process))
        return str(msgspec.json.decode(created.body)["data"]["id"])

    def create_segment(self, name: str, *profiles: str, is_active: bool = True) -> str:
        """Make a segment of profiles, named by email or id; gives its id.

        An unknown email makes a profile, an unknown id raises ValueError.
        """
        wanted = NewSegment(name=name, profiles=profiles, is_active=is_active)
        return self._state.arrange(wanted)["id"]

    def add_push_token(self, profile: str, token: str) -> None:
        """Give a profile, named by email or id, a push token."""
        self._state.arrange(PushToken(profile=profile, token=token))

    def suppress(self, profile: str, reason: Reason, list_id: str | None = None) -> None:
        """Stop mail to a profile, named by email or id: of one list, or all of it.

        Raises ValueError for an unknown list or id; an unknown email makes a profile.
        """
        self._state.arrange(Suppression(profile=profile, reason=reason, list_id=list_id))

    def set_faults(self, rules: Iterable[Mapping[str, Any]]) -> None:
        """Put these fault rules in the place of all before (see `faults.Rule`)."""
        self._state.set_faults([dict(rule) for rule in rules])

    def clear_faults(self) -> None:
        """Answer properly again."""
        self._state.faults.set([])

    def configure(self, **changes: object) -> None:
        """Change settings (see `settings.Settings`)."""
        self._state.configure(changes)

    def reset(self) -> None:
        """Forget data, faults, counts and the log; keep the settings."""
        self._state.reset()
