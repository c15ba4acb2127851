"""`manage.py klaviyo_relay_outbox`: a relay as a process of its own."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from klaviyo_relay.contrib.django_outbox.store import DjangoStore
from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.outbox.process import add_options, run_until_told
from klaviyo_relay.outbox.shipper import OutboxShipper


class Command(BaseCommand):
    """Ship the commands in the outbox to Redis, until SIGTERM or SIGINT."""

    help = "Ship the commands in the outbox to Redis, until SIGTERM or SIGINT."

    def add_arguments(self, parser: CommandParser) -> None:
        """The options of all relays, and the database."""
        parser.add_argument(
            "--database", metavar="ALIAS", help="alias (default: the one that the routers name)"
        )
        add_options(parser)

    def handle(self, *_arguments: Any, **options: Any) -> None:
        """Run until told to end."""
        try:
            shipper = OutboxShipper(
                DjangoStore(options["database"]),
                poll_seconds=options["poll"],
                lease_seconds=options["lease"],
            )
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        run_until_told(shipper)
