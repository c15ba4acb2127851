"""Redis servers with a configuration of a test's own: replicas, clusters, Sentinels, slow starts.

The server is that of `find_server`: on PATH, else the wheel's. Each is ended by its id, and its
data lie in the test's directory.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from klaviyo_relay_worker.embedded import find_server
from ports import HOST, free_port


class RedisNode:
    """One server process; started again, it has the same port and the same data.

    Args:
        directory: of its own; it is made.
        directives: its configuration; in a directive `$PORT` is its port.
        mode: "--sentinel" or nothing.
    """

    def __init__(self, directory: Path, *directives: str, mode: str = "") -> None:
        directory.mkdir()
        self.port, self.directory = free_port(), directory
        self._mode = [mode] if mode else []
        self._configuration = directory / "server.conf"
        self._log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(*directives)

    def configure(self, *directives: str) -> None:
        """How it starts from now on; what a server has written into its configuration is gone."""
        lines = [f"bind {HOST}", f"dir {self.directory}", *directives]
        if not any(line.startswith("port ") for line in directives):
            lines.append("port $PORT")
        text = "\n".join(lines) + "\n"
        self._configuration.write_text(text.replace("$PORT", str(self.port)))

    def start(self) -> None:
        """Start it; who needs an answer waits for it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [find_server().path, str(self._configuration), *self._mode],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Without a locale of the user's, the server's messages are English.
                env={"PATH": os.defpath, "LC_ALL": "C"},
            )

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, if it was started."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def pause(self) -> None:
        """It stands still: connections are taken, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
