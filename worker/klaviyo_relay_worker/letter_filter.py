"""Which dead letters are meant: by place, kind, reason, time and person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from klaviyo_relay.keys import split
from klaviyo_relay_worker.dead_letters import DeadLetter

_IDENTIFIERS = ("email", "phone_number", "external_id", "profile_id", "anonymous_id")


class LetterFilter(Struct, frozen=True, kw_only=True):
    """Takes the letters that fit all that is given; None fits everything.

    Attributes:
        account: name of the account.
        lane: such as events or default:events.
        verb: as on the wire, such as add_to_list.
        code: Klaviyo's error code, or ours: invalid, unreadable.
        since, until: seconds since 1970 between which the command died, both included.
        email: the command's e-mail address, letter for letter.
        profile: any identifier of the command, letter for letter.
    """

    account: str | None = None
    lane: str | None = None
    verb: str | None = None
    code: str | None = None
    since: float | None = None
    until: float | None = None
    email: str | None = None
    profile: str | None = None

    def __repr__(self) -> str:
        """The names of what is given; whom it names is private."""
        given = (name for name in self.__struct_fields__ if getattr(self, name) is not None)
        return f"<LetterFilter by {', '.join(given) or 'nothing'}>"

    @property
    def is_empty(self) -> bool:
        """Whether it takes every letter."""
        return all(getattr(self, name) is None for name in self.__struct_fields__)

    def lanes(self, names: Iterable[str]) -> list[str]:
        """Those of the lanes whose letters may fit."""
        return [name for name in names if self._takes_lane(name)]

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the letter fits."""
        return (
            self._takes_lane(letter.lane)
            and self.verb in (None, letter.verb)
            and self.code in (None, letter.failure.code)
            and (self.since is None or letter.dead_at >= self.since)
            and (self.until is None or letter.dead_at <= self.until)
            and self._takes_person(letter)
        )

    def _takes_lane(self, name: str) -> bool:
        account, lane = split(name)
        return self.account in (None, account) and self.lane in (None, lane, name)

    def _takes_person(self, letter: DeadLetter) -> bool:
        if self.email is None and self.profile is None:
            return True
        known = _identifiers(letter)
        is_email = self.email is None or known.get("email") == self.email
        return is_email and (self.profile is None or self.profile in known.values())


def _identifiers(letter: DeadLetter) -> dict[str, Any]:
    """Whom the command names; of one that is no command what its arguments say."""
    if letter.envelope is not None:
        command = letter.envelope.command
        return {name: getattr(command, name, None) for name in _IDENTIFIERS}
    try:
        given = msgspec.json.decode(letter.message or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {}
    return {name: given.get(name) for name in _IDENTIFIERS}
