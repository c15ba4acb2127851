"""The Django application of the outbox."""

from __future__ import annotations

from django.apps import AppConfig


class OutboxConfig(AppConfig):
    """Named so that its tables and migrations stand apart from the application's own."""

    name = "klaviyo_relay.contrib.django_outbox"
    label = "klaviyo_relay_outbox"
    verbose_name = "Klaviyo relay: outbox"
    default_auto_field = "django.db.models.BigAutoField"
