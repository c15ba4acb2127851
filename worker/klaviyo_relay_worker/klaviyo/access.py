"""Access: one read, asked until it is answered, within the rate limit that deliveries keep, too."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, Protocol

import tenacity
from redis.exceptions import RedisError

from klaviyo_relay.errors import RedisUnavailableError
from klaviyo_relay_worker.errors import (
    AuthenticationError,
    KlaviyoError,
    NotFoundError,
    RateLimitError,
    RefusedError,
    ServerError,
    TransportError,
)
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.outcome import failures_of
from klaviyo_relay_worker.retry import after_throttling, backoff


class Sender(Protocol):
    """What sends a request: a `KlaviyoClient`."""

    def send(self, request: Request) -> Answer:
        """Send it and read the whole answer, or raise a `TransportError`."""

    def close(self) -> None:
        """Close the connections."""


class RateLimiter(Protocol):
    """What keeps the rate limit: the `Quota` that all workers share."""

    def reserve(self, account: str, endpoint: str, *, is_bulk_lane: bool = False) -> float:
        """0 if a request may be sent now, else seconds to wait before asking again."""

    def throttled(self, account: str, endpoint: str, seconds: float) -> float:
        """Klaviyo said 429."""

    def learn(self, account: str, endpoint: str, headers: Any) -> None:
        """Take over what an answer says of the limits."""

    def close(self) -> None:
        """Close the connections."""


class Access:
    """Asks Klaviyo, for one account.

    A read can be repeated, so an outage, a lost answer and a used-up rate limit are waited out, for
    as long as the caller has patience.

    Args:
        sender, limiter: how.
        account: whose rate limit.
        patience: seconds that one read may wait for its answer.
        sleep, chance: to be replaced in tests.
    """

    def __init__(
        self,
        sender: Sender,
        limiter: RateLimiter,
        account: str,
        *,
        patience: float,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sender = sender
        self._limiter = limiter
        self._account = account
        self._chance = chance
        self._asking = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type((RateLimitError, ServerError, TransportError)),
            wait=self._wait,
            stop=tenacity.stop_before_delay(patience),
            sleep=sleep,
            reraise=True,
        )

    def ask(self, request: Request) -> dict[str, Any]:
        """The document that Klaviyo answers.

        Raises:
            KlaviyoError: see `errors`; the ones that waiting may mend, after waiting.
            RedisUnavailableError: the rate limit, which is kept in Redis, cannot be asked.
        """
        document: dict[str, Any] = self._asking(self._ask_once, request)
        return document

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()
        self._limiter.close()

    def _ask_once(self, request: Request) -> dict[str, Any]:
        try:
            self._reserve(request)
            answer = self._sender.send(request)
            return self._document(request, answer)
        except RedisError as error:
            text = (
                f"reads share their rate limit with deliveries, in Redis, and it is away: {error}"
            )
            raise RedisUnavailableError(text) from error

    def _reserve(self, request: Request) -> None:
        # As a low-priority lane does, so that live deliveries find something left.
        wait = self._limiter.reserve(self._account, request.quota_key, is_bulk_lane=True)
        if wait:
            text = f"the rate limit of {request.quota_key} is used up for {wait:.1f} s"
            raise RateLimitError(text, retry_after=wait, status=0)

    def _document(self, request: Request, answer: Answer) -> dict[str, Any]:
        if answer.status == 429:
            attempts = self._asking.statistics.get("attempt_number", 1)
            said = after_throttling(answer.headers, attempts, self._chance)
            self._limiter.throttled(self._account, request.quota_key, said)
            text = f"Klaviyo answers 429 to {request.endpoint}; again in {said:.0f} s"
            raise RateLimitError(text, retry_after=said)
        self._limiter.learn(self._account, request.quota_key, answer.headers)
        if not answer.is_accepted:
            raise error_of(request, answer)
        document = answer.document()
        if not isinstance(document, dict) or "data" not in document:
            text = f"the answer to {request.endpoint} is no document of Klaviyo's; a proxy's, maybe"
            raise ServerError(text, answer.status)
        return document

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimitError):
            return error.retry_after
        return backoff(state.attempt_number, self._chance())


def error_of(request: Request, answer: Answer) -> KlaviyoError:
    """The error that an answer other than 2xx and 429 is.

    Klaviyo's words go into `failures`, not into the message: they may quote what is private.
    """
    status = answer.status
    told = f"Klaviyo answers {status} to {request.endpoint}"
    if status in (401, 403):
        needed = "look at the API key" if status == 401 else "the API key lacks a scope for it"
        return AuthenticationError(f"{told}: {needed}", status)
    if status >= 500 or status < 400 or status == 408:
        return ServerError(told, status)
    failures = failures_of(status, answer.document())
    where = ", ".join(sorted({one.pointer for one in failures if one.pointer}))
    kind = NotFoundError if status == 404 else RefusedError
    return kind(f"{told}: {failures[0].code}" + (f" at {where}" if where else ""), status, failures)
