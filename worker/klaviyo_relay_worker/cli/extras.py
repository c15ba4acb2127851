"""Extras: what a part of the command line needs beside the extra [worker]."""

from __future__ import annotations

from importlib.util import find_spec

from klaviyo_relay.errors import ConfigurationError


def need(extra: str, *modules: str) -> None:
    """Say politely what is to be installed, before anything is imported.

    Args:
        extra: of klaviyo-relay, that brings them.
        modules: as they are imported; each is named like its distribution, but for `_`.

    Raises:
        ConfigurationError: one is missing; names it, and the command that brings it.
    """
    for name in modules:
        if find_spec(name) is None:
            told = f'{name.replace("_", "-")} is missing; pip install "klaviyo-relay[{extra}]"'
            raise ConfigurationError([told])
