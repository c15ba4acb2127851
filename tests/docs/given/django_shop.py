"""A Django project with one table, as a script has it."""

import os
from pathlib import Path

import django
from django import forms
from django.conf import settings
from django.db import connection, models, transaction
from django.http import QueryDict

__all__ = ["Order", "form", "transaction"]

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
    total = models.DecimalField(max_digits=9, decimal_places=2)

    class Meta:
        app_label = "shop"

    def __str__(self) -> str:
        return self.email


class OrderForm(forms.ModelForm):
    """What the shop's page sends."""

    class Meta:
        model = Order
        fields = ("email", "total")


form = OrderForm(QueryDict("email=ada@lovelace.dev&total=23.99"))
if not form.is_valid():
    raise SystemExit(form.errors)
with connection.schema_editor() as editor:
    editor.create_model(Order)
from django.core.management import call_command  # noqa: E402 - after the set-up

call_command("migrate", verbosity=0)
