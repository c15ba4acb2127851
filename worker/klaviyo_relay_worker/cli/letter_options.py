"""What the verbs of `klaviyo-relay dead` share: their filters, and the way to the letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click
from msgspec import Struct
from redis import Redis

from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import Settings
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters
from klaviyo_relay_worker.journal import JournalRoom
from klaviyo_relay_worker.letter_filter import LetterFilter
from klaviyo_relay_worker.settings import WorkerSettings
from klaviyo_relay_worker.status import Status

_AGO = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Function = TypeVar("Function", bound=Callable[..., Any])


def moment(text: str) -> float:
    """Seconds since 1970, from a time in ISO 8601, or from how long ago, such as 90m.

    A time without a zone is in UTC.

    Raises:
        click.BadParameter: it is neither.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            span = timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return (datetime.now(UTC) - span).timestamp()
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        text = "must be a time such as 2026-07-15T08:00Z, or 90m, 12h, 3d ago"
        raise click.BadParameter(text) from None


_FILTERS = (
    click.option("--account", help="only this account"),
    click.option("--lane", help="only this lane, such as events or default:events"),
    click.option("--verb", help="only this verb, such as track or add-to-list"),
    click.option("--code", help="only this error code, as `dead list` shows it"),
    click.option(
        "--since",
        type=moment,
        metavar="TIME",
        help="died since 2026-07-15T08:00Z, or 2h (ago)",
    ),
    click.option("--until", type=moment, metavar="TIME", help="died until then; as --since"),
    click.option("--email", help="only commands with exactly this address"),
    click.option("--profile", help="only commands with exactly this identifier of any kind"),
)


def with_filters(function: Function) -> Function:
    """Add the filters to a verb, which gets them as keywords; see `filter_of`."""
    for option in reversed(_FILTERS):
        function = option(function)
    return function


def filter_of(given: dict[str, Any]) -> LetterFilter:
    """The filter that a person has typed."""
    verb = given.get("verb")
    return LetterFilter(**{**given, "verb": verb and verb.replace("-", "_")})


class LetterBox(Struct, frozen=True):
    """The dead letters of the Redis in the environment.

    Attributes:
        letters: all of them.
        lanes: all lanes.
    """

    redis: Redis
    letters: DeadLetters
    lanes: list[str]

    def pages(self, wanted: LetterFilter) -> Iterator[list[DeadLetter]]:
        """The letters that fit, some at a time."""
        for page in self.letters.pages(wanted.lanes(self.lanes)):
            if fitting := [one for one in page if wanted.takes(one)]:
                yield fitting

    def pages_of(
        self, identities: Sequence[str], wanted: LetterFilter
    ) -> Iterator[list[DeadLetter]]:
        """The letters of these commands that fit, some at a time.

        Raises:
            click.ClickException: some are no dead letters; before the first page.
        """
        places = self.letters.lanes_of(self.lanes, identities)
        missing = sorted(set(identities).difference(*places.values()))
        if missing:
            raise click.ClickException(f"not dead letters: {', '.join(missing)}")
        for lane, there in places.items():
            for page in self.letters.read(lane, there):
                if fitting := [one for one in page if wanted.takes(one)]:
                    yield fitting

    def now(self) -> float:
        """Seconds since 1970 by the clock that the letters are dated by."""
        seconds, microseconds = self.redis.time()
        return float(seconds) + float(microseconds) / 1e6


def open_box() -> LetterBox:
    """The dead letters, by the settings in the environment."""
    settings = Settings.from_env()
    redis = connect(settings.redis_url)
    room = JournalRoom(redis, WorkerSettings.from_env().journal_ids).bytes()
    letters = DeadLetters(redis, settings.keys, journal_bytes=room)
    return LetterBox(redis, letters, Status(redis, settings.keys).lanes())
