"""A framework's own settings, over those of the environment."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.settings import PREFIX, Settings


def read_settings(given: Mapping[str, Any], label: str) -> Settings:
    """Settings from a framework's configuration; what it leaves out comes from the environment.

    Args:
        given: by name in capitals without prefix, such as {"REDIS_URL": …}; None counts as unset.
        label: how a fault names one of them: "{}" stands for the name.

    Raises:
        ConfigurationError: with every fault found, unknown names among them.
    """
    known = [name.upper() for name in Settings.__struct_fields__]
    faults = list(_unknown(given, known, label))
    texts = {PREFIX + name: str(given[name]) for name in known if given.get(name) is not None}
    try:
        settings = Settings.from_env({**os.environ, **texts})
    except ConfigurationError as error:
        faults += [_named(fault, texts, label) for fault in error.faults]
    else:
        if not faults:
            return settings
    raise ConfigurationError(faults)


def _unknown(given: Iterable[str], known: Collection[str], label: str) -> Iterator[str]:
    for name in given:
        if name not in known:
            yield f"{label.format(name)} is unknown; known are {', '.join(known)}"


def _named(fault: str, texts: Mapping[str, str], label: str) -> str:
    """A fault with the name that the framework's user wrote, if it was they who wrote it."""
    variable, _, rule = fault.partition(" ")
    name = label.format(variable.removeprefix(PREFIX)) if variable in texts else variable
    return f"{name} {rule}"
