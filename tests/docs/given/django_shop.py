"""A Django project with one table, as a script has it."""

import os
from pathlib import Path

import django
from django.conf import settings
from django.db import connection, models, transaction

__all__ = ["Order", "request", "transaction"]

BASE_DIR = Path(__file__).parent
settings.configure(
    USE_TZ=True,
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "shop.sqlite3"}
    },
    INSTALLED_APPS=["klaviyo_relay.contrib.django", "klaviyo_relay.contrib.django_outbox"],
    KLAVIYO_RELAY={
        "REDIS_URL": os.environ["KLAVIYO_RELAY_REDIS_URL"], "SPOOL_DIR": BASE_DIR / "spool"
    },
)  # fmt: skip
django.setup()


class Order(models.Model):
    """An order."""

    email = models.EmailField()
    total = models.FloatField()

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.email


class Request:
    """A form that was sent."""

    POST = {"email": "ada@lovelace.dev", "total": 23.99}  # noqa: RUF012 - nobody changes it


request = Request()
with connection.schema_editor() as editor:
    editor.create_model(Order)
from django.core.management import call_command  # noqa: E402 - after the set-up

call_command("migrate", verbosity=0)
