"""A relay as a process of its own."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.outbox.lease import LEASE_SECONDS
from klaviyo_relay.outbox.shipper import POLL_SECONDS, OutboxShipper

URL_VARIABLE = "KLAVIYO_RELAY_OUTBOX_URL"


def run_until_told(shipper: OutboxShipper) -> None:
    """Ship until SIGTERM or SIGINT; then end after the batch in hand."""
    told = {signal.SIGTERM, signal.SIGINT}
    # Blocked, and waited for: a handler that sets a threading.Event may deadlock with its waiter.
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    shipper.start()
    signal.sigwait(told)
    shipper.stop()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that all relays have."""
    parser.add_argument(
        "--poll",
        type=_seconds,
        default=POLL_SECONDS,
        metavar="SECONDS",
        help="how often to look for committed rows while there are none (default: %(default)s)",
    )
    parser.add_argument(
        "--lease",
        type=_seconds,
        default=LEASE_SECONDS,
        metavar="SECONDS",
        help="how long after a relay has died another takes over (default: %(default)s)",
    )


def main(arguments: list[str] | None = None) -> int:
    """`python -m klaviyo_relay.outbox`: returns the exit status, 2 for wrong usage or settings."""
    parser = argparse.ArgumentParser(
        prog="python -m klaviyo_relay.outbox",
        description="Ship the commands in a database's outbox to Redis, until SIGTERM or SIGINT.",
        epilog="KLAVIYO_RELAY_REDIS_URL names the Redis; see docs/outbox.md.",
    )
    parser.add_argument(
        "url",
        nargs="?",
        metavar="URL",
        help=f"SQLAlchemy's URL of the database. A password in it shows in the list of processes;"
        f" the variable {URL_VARIABLE} does not.",
    )
    parser.add_argument(
        "--create-tables", action="store_true", help="create the two tables where they are missing"
    )
    add_options(parser)
    given = parser.parse_args(arguments)
    url = given.url or os.environ.get(URL_VARIABLE)
    if not url:
        parser.error(f"give the database's URL, or set {URL_VARIABLE}")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return _ship(parser, given, url)


def _ship(parser: argparse.ArgumentParser, given: argparse.Namespace, url: str) -> int:
    try:
        from sqlalchemy import create_engine
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        parser.error('SQLAlchemy 2 is missing; install it: pip install "sqlalchemy>=2"')
    from klaviyo_relay.contrib.sqlalchemy import SqlAlchemyStore, create_tables

    try:
        engine = create_engine(url, pool_pre_ping=True)
        if given.create_tables:
            create_tables(engine)
        shipper = OutboxShipper(
            SqlAlchemyStore(engine), poll_seconds=given.poll, lease_seconds=given.lease
        )
    except (ConfigurationError, SQLAlchemyError, ImportError) as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 2
    run_until_told(shipper)
    engine.dispose()
    return 0


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of seconds above 0")
    return value
