"""Everything that klaviyo-relay raises at an application.

    RelayError
    ├── InvalidCommandError   (also ValueError)  the caller's command: names the field and the rule
    ├── ConfigurationError    (also ValueError)  the settings: names every fault at once
    ├── SpoolError                               the disk under the spool directory
    │   ├── SpoolFullError                       full or read-only, and Redis did not take it either
    │   └── SpoolDamagedError                    the file is damaged; a new one takes its place
    └── RedisUnavailableError                    only where Redis is in the call: enqueue_many
        └── BackpressureError                    Redis answers, but is filled up to the watermark

The network never makes ``track()`` or any other verb raise: see ``RedisUnavailableError``.
"""

from __future__ import annotations

from collections.abc import Sequence


class RelayError(Exception):
    """Anything that klaviyo-relay raises."""


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


class NotInAnOutboxError(RelayError):
    """An outbox writes in the caller's transaction, and has not all that a producer has."""


class SpoolError(RelayError):
    """The spool file could not be opened or written."""


class SpoolFullError(SpoolError):
    """The disk under the spool is full or read-only, and Redis did not take the command either.

    The command was not accepted: the application decides what to do with it.
    """


class SpoolDamagedError(SpoolError):
    """The spool file is damaged. Not seen by applications: a new file takes its place."""


class RedisUnavailableError(RelayError):
    """Redis did not answer within the time that the caller gave.

    Attributes:
        accepted: how many commands of this call are safely in Redis.
    """

    def __init__(self, message: str, accepted: int = 0) -> None:
        super().__init__(message)
        self.accepted = accepted


class BackpressureError(RedisUnavailableError):
    """Redis is filled up to the watermark, and stayed so for the time that the caller gave."""
