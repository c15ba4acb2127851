"""The settings of a Django project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings

from klaviyo_relay.contrib.configuration import read_settings
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.producer import own
from klaviyo_relay.settings import Settings

NAME = "KLAVIYO_RELAY"


def read() -> Settings:
    """The setting KLAVIYO_RELAY, over the environment.

    Raises:
        ConfigurationError: with every fault found.
    """
    given: Any = getattr(django_settings, NAME, None) or {}
    if not isinstance(given, Mapping):
        raise ConfigurationError([f"{NAME} must be a dict, not {type(given).__name__}"])
    return read_settings({str(name): value for name, value in given.items()}, NAME + '["{}"]')


def configure(*, setting: str = NAME, **_: Any) -> None:
    """Let the process's producer read Django's settings; also heard when a test overrides them."""
    if setting == NAME:
        own.configure(read)
