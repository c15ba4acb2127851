"""Everything that goes wrong on the worker's side, split by whose fault it is.

    WorkerError
    ├── UnsuitableRedisError   this Redis cannot hold the lanes: too old, or not a Redis
    ├── LeaseLostError         another planner has taken the lane over; write nothing more
    └── TransportError         the wire: no answer of Klaviyo's was read
        ├── NotSentError       the request never left; nothing has happened at Klaviyo
        └── AnswerLostError    it was sent; whether Klaviyo acted on it is unknown

What Klaviyo answers is not an error: see `outcome`.
"""

from __future__ import annotations

from klaviyo_relay.errors import RelayError


class WorkerError(RelayError):
    """Anything that the worker raises."""


class UnsuitableRedisError(WorkerError):
    """This server cannot hold the lanes."""


class LeaseLostError(WorkerError):
    """Another planner has taken the lane over; this one must not write any more."""


class TransportError(WorkerError):
    """No answer of Klaviyo's was read."""


class NotSentError(TransportError):
    """The request never left: nothing has happened at Klaviyo."""


class AnswerLostError(TransportError):
    """The request was sent, its answer was not read: Klaviyo may have acted on it or not."""
