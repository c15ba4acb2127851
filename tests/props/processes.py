"""Processes of ours, each with a log to look into, each ended by its id."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from waiting import wait_until

# A worker that is told to end finishes its requests, and coverage writes its file.
END_SECONDS = 60.0
START_SECONDS = 60.0


class Process:
    """A process and its log."""

    def __init__(
        self, command: Sequence[str | Path], environment: dict[str, str], log: Path
    ) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    def says(self, text: str, seconds: float = START_SECONDS) -> None:
        """Wait until it has said this.

        Raises:
            AssertionError: it ended before, or the time was over.
        """

        def has_said() -> bool:
            is_over = not self.is_running
            if text in self.log():
                return True
            assert not is_over, f"it ended with {self.process.returncode}:\n{self.log()}"
            return False

        wait_until(has_said, seconds, self.log)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        self.process.send_signal(number)

    def end(self, seconds: float = END_SECONDS) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(END_SECONDS)

    def clear(self) -> None:
        """End it, gently if that works, unless it has ended."""
        if not self.is_running:
            return
        try:
            self.end(20)
        except subprocess.TimeoutExpired:
            self.kill()
