"""What a person may do on the dashboard: each act is bounded, and written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from redis import Redis
from redis.exceptions import RedisError

from klaviyo_relay.keys import Keys, split
from klaviyo_relay_worker.dashboard.audit import Act, Audit, log
from klaviyo_relay_worker.dashboard.groups import Cause, Head, Heads, cause_of
from klaviyo_relay_worker.dead_letters import DeadLetter, DeadLetters, stored_letter
from klaviyo_relay_worker.journal import JournalRoom
from klaviyo_relay_worker.pauses import Pauses

# One click moves no more letters than this, which takes seconds; there may be a next click.
ACTED_MOST = 10_000
_SCANNED_MOST = 200_000
_AT_ONCE = 100


class Choice(Struct, frozen=True):
    """Dead letters of one lane: a group of them, by its name, or one, by its id."""

    lane: str
    group: str = ""
    id: str = ""

    @property
    def target(self) -> str:
        """For the audit."""
        return self.id or f"{self.lane} group {self.group}"


class Chosen(Struct, frozen=True):
    """The letters of a choice.

    Attributes:
        heads: oldest first, at most as many as one click moves.
        is_all: whether these are all.
    """

    heads: list[Head]
    is_all: bool

    @property
    def until(self) -> float:
        """When the latest of them died: nobody has seen those that came later."""
        return max((head.dead_at for head in self.heads), default=0.0)


class Actions:
    """Acts on one Redis.

    Args:
        redis, keys: where.
        journal_ids: of how many commands a lane's journal tells.
    """

    def __init__(self, redis: Redis, keys: Keys, journal_ids: int) -> None:
        self._redis = redis
        self._keys = keys
        self._room = JournalRoom(redis, journal_ids)
        self._heads = Heads(redis, keys)
        self._pauses = Pauses(redis, keys)
        self._audit = Audit(redis, keys)

    def choose(self, choice: Choice, until: float = float("inf")) -> Chosen:
        """The letters of a choice that died until a time."""
        if choice.id:
            letter = DeadLetters(self._redis, self._keys).find([choice.lane], choice.id)
            return Chosen([_head_of(letter)] if letter else [], is_all=True)
        found: list[Head] = []
        scan = self._heads.scan(choice.lane, _SCANNED_MOST)
        for head in _of_group(scan, choice.group):
            if head.dead_at <= until:
                found.append(head)
            if len(found) > ACTED_MOST:
                break
        heads = sorted(found[:ACTED_MOST], key=lambda head: head.dead_at)
        return Chosen(heads, is_all=scan.is_whole)

    def redrive(self, choice: Choice, heads: Sequence[Head], who: str) -> str:
        """Back into the lane; returns the id of the audit's entry."""

        def move(some: Sequence[Head]) -> int:
            return self._letters().redrive(self._with_commands(choice.lane, some))

        return self._act("redrive", choice, heads, who, move)

    def discard(self, choice: Choice, heads: Sequence[Head], who: str) -> str:
        """Delete for good; returns the id of the audit's entry."""

        def move(some: Sequence[Head]) -> int:
            return self._letters().discard([_without_command(choice.lane, one) for one in some])

        return self._act("discard", choice, heads, who, move)

    def reveal(self, choice: Choice, who: str) -> DeadLetter | None:
        """One letter with its command; nothing is shown that the audit has not taken."""
        letter = DeadLetters(self._redis, self._keys).find([choice.lane], choice.id)
        if letter is not None:
            self._audit.note(Act(who=who, what="reveal", target=choice.target, count=1))
        return letter

    def pause(self, account: str, lane: str | None, who: str) -> str:
        """Stop deliveries; returns the id of the audit's entry."""
        self._pauses.pause(account, lane)
        return self._audit.note(Act(who=who, what="pause", target=_place(account, lane)))

    def resume(self, account: str, lane: str | None, who: str) -> str:
        """Let deliveries go on; returns the id of the audit's entry."""
        self._pauses.resume(account, lane)
        return self._audit.note(Act(who=who, what="resume", target=_place(account, lane)))

    def _act(
        self,
        what: str,
        choice: Choice,
        heads: Sequence[Head],
        who: str,
        move: Callable[[Sequence[Head]], int],
    ) -> str:
        moved = 0
        try:
            for at in range(0, len(heads), _AT_ONCE):
                moved += move(heads[at : at + _AT_ONCE])
        except RedisError:
            note = "stopped: Redis does not answer"
            log(Act(who=who, what=what, target=choice.target, count=moved, note=note))
            raise
        left = len(heads) - moved
        note = f"{left} stayed: gone meanwhile, or they cannot be sent as they are" if left else ""
        return self._audit.note(
            Act(who=who, what=what, target=choice.target, count=moved, note=note)
        )

    def _letters(self) -> DeadLetters:
        return DeadLetters(self._redis, self._keys, journal_bytes=self._room.bytes())

    def _with_commands(self, lane: str, heads: Sequence[Head]) -> list[DeadLetter]:
        key = self._keys.lane(*split(lane)).dead
        stored: Any = self._redis.hmget(key, [head.id for head in heads])
        pairs = zip(heads, stored, strict=True)
        return [stored_letter(lane, head.id, one) for head, one in pairs if one is not None]


def _of_group(heads: Iterable[Head], name: str) -> Iterator[Head]:
    is_wanted: dict[Cause, bool] = {}
    for head in heads:
        cause = cause_of(head)
        if cause not in is_wanted:
            is_wanted[cause] = cause.name == name
        if is_wanted[cause]:
            yield head


def _head_of(letter: DeadLetter) -> Head:
    return Head(
        id=letter.id,
        lane=letter.lane,
        verb=letter.verb,
        failure=letter.failure,
        dead_at=letter.dead_at,
        attempts=letter.attempts,
    )


def _without_command(lane: str, head: Head) -> DeadLetter:
    return DeadLetter(
        id=head.id, lane=lane, verb=head.verb, failure=head.failure, dead_at=head.dead_at
    )


def _place(account: str, lane: str | None) -> str:
    return f"{account}:{lane}" if lane else account
