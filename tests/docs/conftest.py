"""What is around a block of the documentation while it runs: as little as possible, all of it real.

Every block gets a directory of its own, an empty Redis and a spool. The words of its mark add to
that, in any order:

    sandbox         a stand-in for Klaviyo, and a worker that delivers to it
    continues       the same directory and names as the block before
    given NAME      tests/docs/given/NAME lies beside it; what is of its language comes before it
    until TEXT      it runs until it has said this, and ends at SIGTERM
    endless         it runs until the events have arrived, and ends at SIGTERM
    events N        so many events have arrived at the sandbox in the end
    exit N          it ends with this exit code
    pytest          it is a test file
    warns           it may give warnings
    by NAME         tests/docs/NAME.py runs it, with what it needs

Addresses in the pages that only one machine at a time could use are exchanged for free ones.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest

from environment import environment_of
from klaviyo_relay_worker.sandbox import Sandbox
from pages import Block
from ports import free_port
from processes import Process
from waiting import wait_until

GIVEN = Path(__file__).parent / "given"
BIN = Path(sys.executable).parent
PORTS = ("6379", "8099", "8765", "9464")
SECONDS = 90


class Stage:
    """A directory and an environment in which blocks run one after the other."""

    def __init__(self, directory: Path, redis_url: str) -> None:
        self.directory = directory
        self.sandbox: Sandbox | None = None
        self._exchanged = {"redis://127.0.0.1:6379/0": redis_url}
        for port in PORTS:
            free = free_port()
            self._exchanged |= {f":{port}": f":{free}", f"port {port}": f"port {free}"}
        self.environment = environment_of() | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(directory),
            "KLAVIYO_RELAY_REDIS_URL": redis_url,
            "KLAVIYO_RELAY_SPOOL_DIR": str(directory / "spool"),
            # Nobody is there: no block may ever ask Klaviyo itself.
            "KLAVIYO_API_URL": "http://127.0.0.1:9",
            "KLAVIYO_API_KEY": "pk_test",
        }

    def run(self, story: list[Block]) -> None:
        """Run a story; fails with what it said."""
        for language, blocks in groupby(story, key=lambda block: block.language):
            if language == "python":
                self._run_python(list(blocks))
            else:
                for block in blocks:
                    self._run_shell(block)
        self._await_events([word for block in story for word in block.words or ()])

    def _run_python(self, blocks: list[Block]) -> None:
        """All in one file, in which each line has the number that it has in its page."""
        text = ""
        for block in blocks:
            text += self._imports(block) + "\n" * (block.line - 1 - text.count("\n")) + block.text
        words = [word for block in blocks for word in block.words or ()]
        page = self.directory / f"test_{blocks[0].page.stem}_md.py"
        page.write_text(self._exchange(text), "utf-8")
        warnings = "default" if "warns" in words else "error"
        command = [sys.executable, "-W", warnings, page.name]
        if "pytest" in words:
            command[3:3] = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey"]
        self._end(self._start(command), blocks[-1], words)

    def _run_shell(self, block: Block) -> None:
        before = "".join(path.read_text("utf-8") for path in self._given(block, ".sh"))
        script = f"set -eu\n{before}{self._exchange(block.text)}"
        self._end(self._start(["bash", "-c", script]), block, list(block.words or ()))

    def _imports(self, block: Block) -> str:
        names = [path.stem for path in self._given(block, ".py")]
        return "".join(f"from {name} import *; " for name in names)

    def _given(self, block: Block, suffix: str) -> list[Path]:
        """Puts what the block is given beside it; gives those files of its own language."""
        words = [word.partition(" ") for word in block.words or ()]
        given = [GIVEN / name for kind, _, name in words if kind == "given"]
        for path in given:
            shutil.copy(path, self.directory)
        return [path for path in given if path.suffix == suffix]

    def _exchange(self, text: str) -> str:
        for old, new in self._exchanged.items():
            text = text.replace(old, new)
        return text

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.directory / "said").open("w") as output:
            return subprocess.Popen(
                command, cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def _end(self, process: subprocess.Popen[bytes], block: Block, words: list[str]) -> None:
        said = dict(word.split(" ", 1) for word in words if " " in word)
        is_endless = "until" in said or "endless" in words
        try:
            if "until" in said:
                wait_until(lambda: self._has_said(process, said["until"]), SECONDS, self._said)
            if "endless" in words:
                self._await_events(words)
            if is_endless:
                os.killpg(process.pid, signal.SIGTERM)
            code = process.wait(SECONDS)
        finally:
            _clear(process)
        # uvicorn ends itself by the signal once all is done; the others exit in order.
        expected = {0, -signal.SIGTERM} if is_endless else {int(said.get("exit", 0))}
        assert code in expected, f"{block.name} ended with {code}:\n{self._said()}"

    def _has_said(self, process: subprocess.Popen[bytes], text: str) -> bool:
        is_over = process.poll() is not None
        has_said = text in self._said()
        assert has_said or not is_over, f"it ended without {text!r}:\n{self._said()}"
        return has_said

    def _said(self) -> str:
        return (self.directory / "said").read_text("utf-8")

    def _await_events(self, words: list[str]) -> None:
        for word in words:
            if word.startswith("events "):
                assert self.sandbox is not None
                self.sandbox.wait(events=int(word.split()[1]), timeout=SECONDS)


def _clear(process: subprocess.Popen[bytes]) -> None:
    """End whatever the block has left running."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(10)


@pytest.fixture
def stage_of(redis_url: str, tmp_path: Path) -> Iterator[Callable[[list[Block]], Stage]]:
    """Makes the surroundings that a story asks for."""
    with ExitStack() as around:

        def make(story: list[Block]) -> Stage:
            stage = Stage(tmp_path, redis_url)
            if any("sandbox" in (block.words or ()) for block in story):
                klaviyo = around.enter_context(Sandbox(limits=False, import_delay_seconds=0.0))
                stage.sandbox = klaviyo
                stage.environment["KLAVIYO_API_URL"] = klaviyo.url
                around.callback(_worker(stage).clear)
            return stage

        yield make


def _worker(stage: Stage) -> Process:
    command = [BIN / "klaviyo-relay", "worker"]
    worker = Process(command, stage.environment, stage.directory / "worker.log")
    worker.says(" ready.")
    return worker
