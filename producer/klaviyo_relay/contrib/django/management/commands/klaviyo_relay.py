"""`manage.py klaviyo_relay status` and `flush`: the spool of this machine, with Django's settings.

For lanes, dead letters and workers there is the command line `klaviyo-relay`.
"""

from __future__ import annotations

from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from klaviyo_relay.contrib.django.configuration import read
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.marks import Marks
from klaviyo_relay.orphans import ship_orphans
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.spool import opened, spool_paths


class Command(BaseCommand):
    """See the module."""

    help = "Say what waits in klaviyo-relay's spool on this machine, or ship what was left behind."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the one argument."""
        parser.add_argument("what", choices=["status", "flush"])

    def handle(self, *_: Any, what: str, **__: Any) -> None:
        """Do it.

        Raises:
            CommandError: flush could not ship everything, or Redis does not answer.
        """
        from redis.exceptions import RedisError

        settings = read()
        entrance = LaneEntrance(connect(settings.redis_url), settings.keys, settings.lane_max_bytes)
        try:
            entrance.survey()
            if what == "flush":
                ship_orphans(entrance, settings)
            self._say(settings, waiting(settings, entrance), "answers")
        except RedisError as error:
            if what == "flush":
                raise CommandError(f"{masked(settings.redis_url)}: {error}") from error
            self._say(settings, waiting(settings, None), f"does not answer: {error}")
        finally:
            entrance.close()

    def _say(self, settings: Settings, left: int, redis: str) -> None:
        self.stdout.write(f"Redis  {masked(settings.redis_url)} {redis}")
        self.stdout.write(f"Spool  {settings.spool_directory}: {left} commands wait")


def waiting(settings: Settings, marks: Marks | None) -> int:
    """Commands in this machine's spool files that Redis has not got; without Redis, all rows."""
    found = 0
    for path in spool_paths(settings.spool_directory, settings.digest):
        # Gone is what somebody else has shipped and removed meanwhile.
        with suppress(FileNotFoundError), opened(path) as file:
            found += file.unshipped(marks)
    return found
