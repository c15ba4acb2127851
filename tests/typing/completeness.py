"""What a type checker of an application knows of `klaviyo_relay`; `make check` runs it.

`pyright --verifytypes` looks at each name that is not private in a package with py.typed. A type
that it does not know, or knows in part, fails. A name that only takes over what another one is
(`track = _default.track`) is let through: pyright calls that ambiguous, since checkers might infer
differently, and api.py beside this file shows that mypy and pyright do not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGE = "klaviyo_relay"
# Django has no types of its own, so what subclasses its classes cannot be known.
UNTYPED = (f"{PACKAGE}.contrib.django", f"{PACKAGE}.contrib.django_outbox")
INFERRED = "Type is missing type annotation and could be inferred differently"
COMMAND = ("-m", "pyright", "--ignoreexternal", "--outputjson", "--verifytypes", PACKAGE)


def symbols() -> list[dict[str, Any]]:
    """All that pyright found in the package."""
    environ = {
        **os.environ,
        # This work of pyright's heeds no setting: it looks where the `python` of PATH looks.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        # Else its launcher asks a registry for newer versions of itself.
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    said = subprocess.run(
        [sys.executable, *COMMAND],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    found: list[dict[str, Any]] = json.loads(said.stdout)["typeCompleteness"]["symbols"]
    return found


def faults(symbol: dict[str, Any]) -> list[str]:
    """Why a name's type is not known."""
    if symbol["isTypeKnown"] or _is_below(symbol["name"], UNTYPED):
        return []
    messages = [said["message"].splitlines()[0] for said in symbol["diagnostics"]]
    return [said for said in messages if not said.startswith((INFERRED, "No docstring"))]


def _is_below(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def main() -> int:
    """Print what is not known; the exit code says whether there was any."""
    found = symbols()
    lines = [f"{symbol['name']}: {fault}" for symbol in found for fault in faults(symbol)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.write(f"{len(found)} names of {PACKAGE}, {len(lines)} without a type\n")
    return 1 if lines or not found else 0


if __name__ == "__main__":
    sys.exit(main())
