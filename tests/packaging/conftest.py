"""The source tree, and what is built of it: wheels, and an environment that holds one alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tree import SOURCE

PROJECT = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_LOCKED = re.compile(r"(?P<name>[a-z0-9-]+)==.*?\n(?=[a-z]|\Z)", re.DOTALL)
_UNREACHABLE = "after connection broken by"


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, **options
    )


def done(*command: str | Path, **options: Any) -> str:
    finished = run(*command, **options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def wheel_of(source: Path, folder: Path) -> Path:
    """The wheel that a user's pip builds of the source, by the build tools that are here."""
    done(
        *_PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index",
        "--wheel-dir", folder, source,
    )  # fmt: skip
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def tree() -> Path:
    return SOURCE


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """The table [project] of pyproject.toml."""
    return PROJECT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of(SOURCE, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def wheel_of_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the source distribution builds."""
    folder = tmp_path_factory.mktemp("sdist")
    done(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=SOURCE)
    [sdist] = folder.glob("*.tar.gz")
    return wheel_of(sdist, tmp_path_factory.mktemp("wheel_of_sdist"))


class BareInstall:
    """A virtual environment with the wheel and the locked base dependencies, and nothing else.

    Its processes know nothing of the one that tests.
    """

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "venv" / "bin"
        self._home = folder / "home"
        self._home.mkdir()

    def run(self, program: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        around = {"PATH": os.environ["PATH"], "HOME": str(self._home), **environ}
        return run(self.programs / program, *words, env=around, cwd=self._home)

    def says(self, code: str, **environ: str) -> str:
        """What a program prints."""
        finished = self.run("python", "-I", "-c", code, **environ)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout


@pytest.fixture(scope="session")
def bare_install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> BareInstall:
    folder = tmp_path_factory.mktemp("bare")
    requirements = folder / "base.txt"
    requirements.write_text("".join(_locked_base()))
    done(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    install = BareInstall(folder)
    pip = (*_PIP, "--python", install.programs / "python", "install", "--no-deps")
    finished = run(*pip, "--retries", "1", "--require-hashes", "--requirement", requirements)
    if finished.returncode and _UNREACHABLE in finished.stdout + finished.stderr:
        pytest.skip("no package registry can be reached to install the base dependencies from")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    done(*pip, "--no-index", wheel)
    return install


def _locked_base() -> list[str]:
    """The lines of requirements/run.txt for the base dependencies and all that they need."""
    text = (SOURCE / "requirements" / "run.txt").read_text()
    locked = {found["name"]: found[0] for found in _LOCKED.finditer(text)}
    wanted = {re.split(r"[^a-z0-9-]", line)[0] for line in PROJECT["dependencies"]}
    size = 0
    while size != len(wanted):
        size = len(wanted)
        wanted |= {name for name in locked if wanted & _needed_by(locked[name])}
    return [locked[name] for name in sorted(wanted)]


def _needed_by(block: str) -> set[str]:
    """Who needs it, by the comment below the hashes: `# via redis`."""
    return set(re.findall(r"^    #(?: via)? +([a-z0-9-]+)$", block, re.MULTILINE))
