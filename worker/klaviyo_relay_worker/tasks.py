"""The Celery tasks: `deliver`, and the verbs as a door for whoever speaks Celery.

A Celery message is only ever a wake-up call or a command on its way into a lane: the lane is the
truth.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Protocol

import tenacity
from celery import Celery, Task
from celery.exceptions import Reject
from redis.exceptions import RedisError

from klaviyo_relay import validation
from klaviyo_relay.calls import commands_of
from klaviyo_relay.commands import VERBS, Command
from klaviyo_relay.envelope import DEFAULT_ACCOUNT, new_id, wrap
from klaviyo_relay.errors import BackpressureError, InvalidCommandError
from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.scripts import script_of
from klaviyo_relay.sources import TASK
from klaviyo_relay.trace_context import current_trace
from klaviyo_relay_worker import dead_letters
from klaviyo_relay_worker.plan.places import job_of
from klaviyo_relay_worker.planner import Planner
from klaviyo_relay_worker.telemetry.event import DEAD, Settled, Telemetry

logger = logging.getLogger("klaviyo_relay_worker.tasks")

VERBS_QUEUE = "klaviyo"
DELIVER_QUEUE = "klaviyo.deliver"
# An invalid command whose verb is unknown has no lane of its own; it is buried here.
_LANE_OF_UNKNOWN = "events"
_WAIT_MOST_SECONDS = 5.0
_MASKS = {"argsrepr": "***", "kwargsrepr": "***"}


class Office(Protocol):
    """What the tasks need; made by the composition root."""

    @property
    def planner(self) -> Planner:
        """Delivers."""

    @property
    def entrance(self) -> LaneEntrance:
        """The way into the lanes."""

    telemetry: Telemetry
    doorbell: Any


class VerbTask(Task):
    """A task whose arguments are a command, and hence private."""

    # By its name: a process that only sends needs nothing of Celery's worker.
    Request = "klaviyo_relay_worker.masked_request:MaskedRequest"

    def apply_async(self, *arguments: Any, **options: Any) -> Any:
        """As Celery's, but the text of the arguments that it sends beside them is a mask."""
        return super().apply_async(*arguments, **{**_MASKS, **options})


def register(app: Celery, office: Office) -> None:
    """Put all tasks into a Celery app."""

    # Not shared: Celery would put this office's tasks into every other app of the process, too.
    @app.task(name="klaviyo_relay.deliver", queue=DELIVER_QUEUE, ignore_result=True, shared=False)
    def deliver(account: str, lane: str) -> None:
        """One turn at a lane; rings again where more is to be done."""
        _deliver(office, account, lane)

    for verb in VERBS:
        _register_verb(app, office, verb)


def _deliver(office: Office, account: str, lane: str) -> None:
    name = f"{account}:{lane}"
    try:
        if office.doorbell is not None:
            office.doorbell.answered(name)
        has_more = office.planner.deliver(account, lane)
        if office.doorbell is not None:
            for other in office.planner.turned_away(account):
                office.doorbell.ring(f"{account}:{other}")
            if has_more:
                office.doorbell.ring(name)
    except RedisError as error:
        logger.warning("cannot deliver %s while Redis is away: %s", name, error)


def _register_verb(app: Celery, office: Office, verb: str) -> None:
    def failed(
        _task: Task,
        error: Exception,
        identity: str,
        _args: Any,
        keywords: dict[str, Any],
        _info: Any,
    ) -> None:
        """What Celery could not hand over, such as an argument called self, is not lost either."""
        _patiently(_bury, office, verb, identity, keywords, type(error).__name__)

    @app.task(
        name=f"klaviyo_relay.{verb}",
        base=VerbTask,
        bind=True,
        shared=False,
        queue=VERBS_QUEUE,
        ignore_result=True,
        acks_late=True,
        reject_on_worker_lost=True,
        on_failure=failed,
    )
    def command(self: Task, *arguments: Any, **keywords: Any) -> None:
        _enter(office, verb, self.request.id or new_id(), arguments, keywords)


def _enter(
    office: Office, verb: str, identity: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    """Validate, then the lane; an invalid one becomes a dead letter, for its caller is gone."""
    fields = dict(keywords)
    account = fields.pop("account", DEFAULT_ACCOUNT)
    try:
        _check_form(arguments, account, identity)
        messages = _messages(commands_of(verb, fields), account, identity)
    except InvalidCommandError as error:
        _patiently(_bury, office, verb, identity, keywords, str(error))
        return
    for number, (lane, message) in enumerate(messages, 1):
        _patiently(office.entrance.ship, lane, TASK + identity, [(number, message)])


def _check_form(arguments: tuple[Any, ...], account: object, identity: str) -> None:
    if arguments:
        raise InvalidCommandError("arguments", "must be given by name")
    # It is the command's id, and among what is due in a lane it would be taken for an import job's.
    if job_of(identity) is not None:
        raise InvalidCommandError("task_id", "must not begin with job:")
    validation.account("account", account)


def _messages(commands: list[Command], account: str, identity: str) -> list[tuple[str, bytes]]:
    """The last command bears the task's id; a profile's attributes before it have their own."""
    found = []
    at = time.time_ns() // 1_000_000
    # Where OpenTelemetry instruments Celery, of the task's span, a child of its sender's.
    trace = current_trace()
    for command in commands:
        own = identity if command is commands[-1] else new_id()
        found.append(wrap(command, own, account, at, trace))
    return found


def _bury(office: Office, verb: str, identity: str, keywords: dict[str, Any], why: str) -> None:
    account = _account_of(keywords)
    lane = VERBS[verb].lane if verb in VERBS else _LANE_OF_UNKNOWN
    name = f"{account}:{lane}"
    now = office.entrance.now()
    letter = dead_letters.invalid(name, identity, verb, _written_down(keywords), why, now=now)
    office.entrance.bury(name, script_of("klaviyo_relay_worker", "bury"), identity, letter)
    office.telemetry.tell(Settled(account=account, lane=lane, outcome=DEAD, cause="invalid"))


def _account_of(keywords: dict[str, Any]) -> str:
    """Whose dead letter it is: usually the command is bad, and its account is not."""
    try:
        return validation.account("account", keywords.get("account", DEFAULT_ACCOUNT))
    except InvalidCommandError:
        return DEFAULT_ACCOUNT


def _written_down(keywords: dict[str, Any]) -> str:
    """As JSON, whatever came in: numbers of any size, half surrogate pairs, nesting without end."""
    try:
        return json.dumps(keywords, default=repr)
    except (RecursionError, TypeError, ValueError) as error:
        return json.dumps({"not written down": type(error).__name__})


def _patiently(do: Any, *arguments: Any) -> None:
    """Wait for a Redis that is away or full; the message stays unacknowledged meanwhile."""
    waiting = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((RedisError, OSError, BackpressureError)),
        wait=tenacity.wait_random_exponential(0.1, _WAIT_MOST_SECONDS),
        stop=tenacity.stop_after_delay(60.0),
    )
    try:
        waiting(do, *arguments)
    except tenacity.RetryError as error:
        logger.warning("a command goes back to the broker: %s", error.last_attempt.exception())
        raise Reject(requeue=True) from error
