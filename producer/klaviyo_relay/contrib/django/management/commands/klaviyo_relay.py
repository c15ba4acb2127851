"""`manage.py klaviyo_relay status` and `flush`: the spool of this machine, with Django's settings.

For lanes, dead letters and workers there is the command line `klaviyo-relay`.
"""

from __future__ import annotations

import sqlite3
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from klaviyo_relay.contrib.django.configuration import read
from klaviyo_relay.found_spool import opened
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.marks import Marks
from klaviyo_relay.orphans import ship_orphans
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings, masked
from klaviyo_relay.spool import spool_paths


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
            self._say(settings, self._waiting(settings, entrance), "answers")
        except RedisError as error:
            if what == "flush":
                raise CommandError(f"{masked(settings.redis_url)}: {error}") from error
            self._say(settings, self._waiting(settings, None), f"does not answer: {error}")
        finally:
            entrance.close()

    def _say(self, settings: Settings, left: int, redis: str) -> None:
        self.stdout.write(f"Redis  {masked(settings.redis_url)} {redis}")
        self.stdout.write(f"Spool  {settings.spool_directory}: {left} commands wait")

    def _waiting(self, settings: Settings, marks: Marks | None) -> int:
        """Commands in this machine's spool files that Redis has not got; without it, all rows."""
        found = 0
        for path in spool_paths(settings.spool_directory, settings.digest):
            try:
                with opened(path) as file:
                    found += file.unshipped(marks)
            except FileNotFoundError:  # shipped and removed by somebody else meanwhile
                continue
            except (OSError, sqlite3.DatabaseError) as error:  # another user's, or damaged
                self.stderr.write(f"{path} cannot be read: {error}")
        return found
