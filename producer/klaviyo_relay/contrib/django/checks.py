"""System checks: `manage.py check` says what would fail at the first command."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning

from klaviyo_relay.contrib.django.configuration import read
from klaviyo_relay.errors import ConfigurationError

MOUNTS = Path("/proc/self/mounts")
# Gone with the machine's power, or with the container.
TEMPORARY = ("tmpfs", "ramfs", "overlay", "aufs")


def check(app_configs: Any = None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001 - Django's signature
    """E001: a fault in the settings. E002: no way to write the spool. W001: it may not last."""
    try:
        directory = read().spool_directory
    except ConfigurationError as error:
        return [Error(fault, id="klaviyo_relay.E001") for fault in error.faults]
    existing = _nearest_existing(directory)
    if not existing.is_dir() or not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        return [
            Error(
                f"{existing} must be a directory that this user may write: the spool is there.",
                hint=f"Set SPOOL_DIR in KLAVIYO_RELAY, which is {directory} now.",
                id="klaviyo_relay.E002",
            )
        ]
    if not django_settings.DEBUG and (kind := temporary_kind(existing)):
        return [
            Warning(
                f"The spool {directory} is on {kind}: what is not in Redis yet goes with it.",
                hint="Set SPOOL_DIR in KLAVIYO_RELAY to a volume that survives a restart.",
                id="klaviyo_relay.W001",
            )
        ]
    return []


def temporary_kind(directory: Path, mounts: Path = MOUNTS) -> str:
    """What makes a directory temporary ("a tmpfs file system", "/tmp"), or "" if nothing can be told.

    Args:
        directory: one that exists.
        mounts: the system's table of mounts; not there on macOS.
    """
    kind = _file_system(directory.resolve(), mounts)
    if kind in TEMPORARY:
        return f"a file system of the type {kind}"
    temporary = Path(tempfile.gettempdir()).resolve()
    return str(temporary) if directory.resolve().is_relative_to(temporary) else ""


def _file_system(path: Path, mounts: Path) -> str:
    """Type of the file system that a resolved path is on, or "" if it cannot be told."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    deepest, found = -1, ""
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        # Blanks and their kind stand there as \040.
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), point))
        # The last of equals: it lies over the others.
        if path.is_relative_to(mounted) and len(mounted.parts) >= deepest:
            deepest, found = len(mounted.parts), kind
    return found


def _nearest_existing(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if path.exists())
