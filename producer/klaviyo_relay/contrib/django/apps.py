"""The app, found by Django through INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed


class RelayConfig(AppConfig):
    """Gives the process's producer Django's settings; wrong ones are said by the system checks."""

    name = "klaviyo_relay.contrib.django"
    label = "klaviyo_relay"
    verbose_name = "klaviyo-relay"

    def ready(self) -> None:
        """Configure; nothing is opened here, so a server that forks later may do so."""
        from klaviyo_relay.contrib.django.checks import check
        from klaviyo_relay.contrib.django.configuration import configure

        configure()
        checks.register(check)
        setting_changed.connect(configure, dispatch_uid="klaviyo_relay")
