"""Everything that klaviyo-relay raises at an application, by who is at fault.

    RelayError
    │   the caller
    ├── InvalidCommandError     (also ValueError)  names the field and the rule
    ├── NotInAnOutboxError                         a call that no outbox can answer
    │   the settings
    ├── ConfigurationError      (also ValueError)  names every fault at once
    │   the disk under the spool
    ├── SpoolError                                 cannot be opened or written
    │   ├── SpoolFullError                         full or read-only; Redis did not take it either
    │   └── SpoolDamagedError                      (*) a new file takes its place
    │   Redis
    ├── RedisUnavailableError                      only where Redis is in the call: `enqueue_many`,
    │   │                                          `created_list`
    │   └── BackpressureError                      it answers, but is filled up to the watermark
    ├── MarkFellBackError                          (*) it came back older than it was
    │   nobody
    └── LeaseLostError                             (*) another relay of the outbox has taken over

Those with a (*) pass between our own modules; no application sees them. What reads Klaviyo's
answers raises the errors of `klaviyo_relay_worker.errors`, which are RelayErrors too.

The network never makes `track` or any other verb raise: see `RedisUnavailableError`.
"""

from __future__ import annotations

from collections.abc import Sequence


class RelayError(Exception):
    """Anything that klaviyo-relay raises.

    Without a message of its own an error says the first sentence of its class.
    """

    def __str__(self) -> str:
        """The message, or the class's own first sentence."""
        first = (type(self).__doc__ or type(self).__name__).partition(".")[0]
        return super().__str__() or " ".join(first.split())


# --- the caller


class InvalidCommandError(RelayError, ValueError):
    """A command that Klaviyo would refuse; nothing was enqueued.

    The message names the field and the rule, never the value: values are private.

    Attributes:
        field: path of the field at fault, such as ``properties.items[3].price``.
        rule: what the field must be, as a sentence for a person.
    """

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule

    def __reduce__(self) -> tuple[type[InvalidCommandError], tuple[str, str]]:
        """Pickle by the two arguments (multiprocessing hands errors over that way)."""
        return type(self), (self.field, self.rule)


class NotInAnOutboxError(RelayError):
    """An outbox writes in the caller's transaction, so it has not all that a producer has."""


# --- the settings


class ConfigurationError(RelayError, ValueError):
    """Settings that cannot work; every fault is listed, each with its variable and its fix.

    Attributes:
        faults: one sentence a fault.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[tuple[str, ...]]]:
        """Pickle by the one argument."""
        return type(self), (self.faults,)


# --- the disk under the spool


class SpoolError(RelayError):
    """The spool file could not be opened or written."""


class SpoolFullError(SpoolError):
    """The disk under the spool is full or read-only, and Redis did not take the command either.

    The command was not accepted: the application decides what to do with it.
    """


class SpoolDamagedError(SpoolError):
    """The spool file is damaged. Not seen by applications: a new file takes its place."""


# --- Redis


class RedisUnavailableError(RelayError):
    """Redis did not answer within the time that the caller gave.

    Attributes:
        accepted: how many commands of this call are safely in Redis.
    """

    def __init__(self, message: str = "", accepted: int = 0) -> None:
        super().__init__(message)
        self.accepted = accepted


class BackpressureError(RedisUnavailableError):
    """Redis is filled up to the watermark. It stayed so for the time that the caller gave."""


class MarkFellBackError(RelayError):
    """Redis came back older than it was; the sender has to begin again at the mark that it has.

    Attributes:
        mark: the last number that the lane has of the sender.
    """

    def __init__(self, mark: int) -> None:
        super().__init__(f"Redis has only what was sent up to number {mark}")
        self.mark = mark


# --- nobody


class LeaseLostError(RelayError):
    """Another relay has taken over; nothing is wrong with that."""
