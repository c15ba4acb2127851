"""The two tables of the outbox."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Creates them."""

    initial = True
    dependencies: ClassVar[list[Any]] = []
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="OutboxState",
            fields=[
                ("id", models.IntegerField(primary_key=True, serialize=False)),
                ("source", models.CharField(max_length=32)),
                ("holder", models.CharField(max_length=80, null=True)),
                ("beat", models.BigIntegerField()),
                ("last_number", models.BigIntegerField()),
            ],
            options={"db_table": "klaviyo_relay_outbox_state"},
        ),
        migrations.CreateModel(
            name="OutboxRow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField(editable=False, null=True)),
                ("lane", models.CharField(max_length=64)),
                ("at", models.BigIntegerField()),
                ("command_id", models.CharField(max_length=36)),
                ("message", models.BinaryField()),
            ],
            options={
                "db_table": "klaviyo_relay_outbox",
                "indexes": [
                    models.Index(
                        fields=["id"],
                        name="klaviyo_relay_outbox_new",
                        condition=models.Q(number__isnull=True),
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["lane", "number"], name="klaviyo_relay_outbox_number"
                    )
                ],
            },
        ),
    ]
