"""Everything that goes wrong on the worker's side, by who is at fault.

    WorkerError
    │   the caller
    ├── InvalidArgumentError      (also ValueError) an argument of a read: names it, and the rule
    ├── UnknownLaneError          no command has come in for such an account or lane
    ├── LoadError                 a load cannot go on: too many refused rows, a file that changed
    │   the Redis
    ├── UnsuitableRedisError      it cannot hold the lanes: too old, or not a Redis
    │   nobody
    ├── LeaseLostError            (*) another planner has taken the lane over; write nothing more
    ├── StageError                (*) a process of the demonstration did not start
    │   Klaviyo, or the way there
    └── KlaviyoError              Klaviyo did not do what it was asked; has `status`
        ├── TransportError        the wire: no answer of Klaviyo's was read
        │   ├── NotSentError      the request never left; nothing has happened at Klaviyo
        │   └── AnswerLostError   it was sent; whether Klaviyo acted on it is unknown
        ├── AuthenticationError   401, 403: the key is wrong, or lacks a scope
        ├── RateLimitError        429, or our own share of the limit is used up; has `retry_after`
        ├── ServerError           5xx, or an answer that is none of Klaviyo's
        └── RefusedError          4xx: has `failures`, each with its pointer
            └── NotFoundError     404: no profile, list, metric, segment of this id or name

Those with a (*) pass between our own modules. Settings that cannot work, flags of `load` that do
not fit (`load.errors.UsageFaultsError`) and a missing extra are `klaviyo_relay.errors`'
`ConfigurationError`. The private Redis of the demo and of tests has errors of its own: `embedded`.

The answers that a *delivery* gets are no errors but outcomes: see `outcome`. Reads raise these
(`klaviyo.Reader`), and `ConfigurationError` where there is no key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from klaviyo_relay.errors import RelayError
from klaviyo_relay_worker.outcome import Failure


class WorkerError(RelayError):
    """Anything that the worker raises."""


class UnsuitableRedisError(WorkerError):
    """This server cannot hold the lanes."""


class UnknownLaneError(WorkerError):
    """No command has come in for such an account or lane."""


class LeaseLostError(WorkerError):
    """Another planner has taken the lane over; this one must not write any more."""


class InvalidArgumentError(WorkerError, ValueError):
    """An argument that no read can be made from; Klaviyo was not asked, but for a shared name.

    The message names the argument and the rule, never the value: values are private.

    Attributes:
        argument: its name, such as ``emails[3]``.
        rule: what it must be, as a sentence for a person.
    """

    def __init__(self, argument: str, rule: str) -> None:
        super().__init__(f"{argument}: {rule}")
        self.argument = argument
        self.rule = rule

    def __reduce__(self) -> tuple[type[InvalidArgumentError], tuple[str, str]]:
        """Pickle by the two arguments."""
        return type(self), (self.argument, self.rule)


class KlaviyoError(WorkerError):
    """Klaviyo did not do what it was asked.

    Attributes:
        status: HTTP status of the answer; 0 where there was none.
    """

    status: int = 0

    def __reduce__(self) -> tuple[Callable[..., KlaviyoError], tuple[Any, ...]]:
        """Pickle by message and attributes: a read may be made in a process of its own."""
        return _again, (type(self), str(self), self.__dict__)


def _again(kind: type[KlaviyoError], message: str, attributes: dict[str, Any]) -> KlaviyoError:
    error = kind.__new__(kind)
    error.args = (message,)
    error.__dict__.update(attributes)
    return error


class TransportError(KlaviyoError):
    """No answer of Klaviyo's was read."""


class NotSentError(TransportError):
    """The request never left: nothing has happened at Klaviyo."""


class AnswerLostError(TransportError):
    """The request was sent, its answer was not read: Klaviyo may have acted on it or not."""


class AuthenticationError(KlaviyoError):
    """Klaviyo does not take the API key (401), or it lacks the scope for this (403)."""

    def __init__(self, message: str, status: int = 401) -> None:
        super().__init__(message)
        self.status = status


class RateLimitError(KlaviyoError):
    """The rate limit is used up, for longer than the caller would wait.

    Attributes:
        retry_after: seconds until it is worth asking again.
        status: 429, or 0 where we knew it without asking.
    """

    def __init__(self, message: str, retry_after: float, status: int = 429) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status


class ServerError(KlaviyoError):
    """Klaviyo failed (5xx), or something on the way answered in its place."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class RefusedError(KlaviyoError):
    """Klaviyo refused the request (4xx); asking again in the same way will not help.

    Attributes:
        failures: Klaviyo's own words, one for each error it named, with its pointer.
    """

    def __init__(self, message: str, status: int, failures: Sequence[Failure] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.failures = tuple(failures)


class NotFoundError(RefusedError):
    """Klaviyo knows nothing by this id or name.

    The status is 404 for a name, too, to which Klaviyo answers with an empty list.
    """
