"""System checks: `manage.py check` says what would fail at the first command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.conf import settings as django_settings
from django.core import checks

from klaviyo_relay.contrib.django.configuration import read
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.spool_place import why_unsuitable


def check(**_: Any) -> list[checks.CheckMessage]:
    """What is wrong with the settings or with the place of the spool.

    E001: a fault in the settings. E002: the spool cannot be written. W001: it may not last; said
    only without DEBUG.
    """
    try:
        directory = read().spool_directory
    except ConfigurationError as error:
        return [checks.Error(fault, id="klaviyo_relay.E001") for fault in error.faults]
    existing = _nearest_existing(directory)
    if not existing.is_dir() or not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        return [
            checks.Error(
                f"{existing} must be a directory that this user may write: the spool is there.",
                hint=f"Set SPOOL_DIR in KLAVIYO_RELAY, which is {directory} now.",
                id="klaviyo_relay.E002",
            )
        ]
    if not django_settings.DEBUG and (reason := why_unsuitable(directory)):
        return [
            checks.Warning(
                f"The spool may not last: {reason}.",
                hint="Set SPOOL_DIR in KLAVIYO_RELAY.",
                id="klaviyo_relay.W001",
            )
        ]
    return []


def _nearest_existing(directory: Path) -> Path:
    return next(path for path in (directory, *directory.parents) if os.access(path, os.F_OK))
