"""The composition root: settings become objects, and those a Celery app.

    celery -A klaviyo_relay_worker.app worker -Q klaviyo,klaviyo.deliver --pool threads

`install(app)` puts the same tasks into an application's own Celery app.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from celery import Celery, bootsteps
from celery.signals import setup_logging, worker_shutdown, worker_shutting_down
from kombu import Queue
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from klaviyo_relay.lane_entrance import LaneEntrance
from klaviyo_relay.redis_clients import connect
from klaviyo_relay.settings import masked
from klaviyo_relay_worker.broker import broker_of
from klaviyo_relay_worker.discretion import be_discreet
from klaviyo_relay_worker.doorbell import Doorbell
from klaviyo_relay_worker.finding import Finding
from klaviyo_relay_worker.planner import Planner
from klaviyo_relay_worker.settings import WorkerSettings, broker_fault
from klaviyo_relay_worker.tasks import DELIVER_QUEUE, VERBS_QUEUE, Office, register
from klaviyo_relay_worker.telemetry.event import Telemetry
from klaviyo_relay_worker.telemetry.log import log
from klaviyo_relay_worker.telemetry.spans import trace
from klaviyo_relay_worker.watchdog import EXIT_CODE, Watchdog

# How long the checkup waits for the broker.
_BROKER_SECONDS = 3.0
_PUBLISH_POLICY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


def create_app(
    settings: WorkerSettings | None = None, *, telemetry: Telemetry | None = None
) -> Celery:
    """A Celery app that delivers.

    Args:
        settings: Defaults to `WorkerSettings.from_env()`.
        telemetry: hears of deliveries. Defaults to logs and traces.

    Raises:
        ConfigurationError: the environment has settings that cannot work, or Celery cannot use
            the broker that they name.
    """
    settings = settings or WorkerSettings.from_env()
    be_discreet()
    broker = broker_of(settings)
    app = Celery("klaviyo_relay", broker=broker.url, set_as_current=False)
    if broker.transport is not None:
        app.conf.broker_transport = broker.transport
        app.conf.broker_transport_options = broker.options
        app.conf.broker_use_ssl = broker.tls
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_default_queue=VERBS_QUEUE,
        task_queues=[Queue(VERBS_QUEUE), Queue(DELIVER_QUEUE)],
        task_publish_retry_policy=_PUBLISH_POLICY,
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.concurrency,
        worker_pool="threads",
        worker_enable_remote_control=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # Verbs that were under way come back anyway, and a lane takes each only once.
        worker_cancel_long_running_tasks_on_connection_loss=True,
        # After a lost connection Celery (5.7.0) lets fewer messages in, and then more again: from
        # the pool's threads, which over AMQP take answers away from its main thread, or it theirs
        # (`consumer._restore_prefetch_count_after_connection_restart`). Both hang for ever.
        worker_enable_prefetch_count_reduction=False,
    )
    install(app, settings, ends_when_stalled=True, telemetry=telemetry)
    return app


def run_worker(app: Celery, arguments: list[str]) -> int:
    """Run a worker with Celery's command line; returns the exit code that `worker_main` drops.

    A person's Ctrl-C is no failure, though Celery takes it for one. Logging stays as it is: Celery
    neither configures it nor redirects standard output to it, and prints no banner.
    """
    codes: list[int] = []
    signals: list[str] = []

    def note_signal(sig: str, **_signal: Any) -> None:
        signals.append(sig)

    def note_end(sender: Any, **_signal: Any) -> None:
        codes.append(sender.exitcode or 0)

    def leave_logging(**_signal: Any) -> None:
        """That somebody listens is what keeps Celery from it."""

    setup_logging.connect(leave_logging, weak=False)
    worker_shutting_down.connect(note_signal, weak=False)
    worker_shutdown.connect(note_end, weak=False)
    app.worker_main(["--quiet", *arguments])
    code = codes[-1] if codes else 0
    return 0 if "SIGINT" in signals and code != EXIT_CODE else code


def check_broker_answers(settings: WorkerSettings) -> Iterator[Finding]:
    """Whether Celery can use its broker, and reaches it."""
    if fault := broker_fault(settings):
        yield Finding("fault", "broker", fault)
        return
    app = create_app(settings)
    address = masked(settings.broker_url)
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=_BROKER_SECONDS)
    except (KombuError, OSError, RedisError) as error:
        # Its text may hold the whole URL.
        text = f"{address} does not answer ({type(error).__name__}); deliveries go on, slower."
        yield Finding("fault", "broker", f"{text} Look at KLAVIYO_RELAY_CELERY_BROKER_URL")
    else:
        yield Finding("ok", "broker", f"{address} answers")
    finally:
        app.close()


def install(
    app: Celery,
    settings: WorkerSettings | None = None,
    *,
    ends_when_stalled: bool = False,
    telemetry: Telemetry | None = None,
) -> None:
    """See `klaviyo_relay_worker.install`, which imports Celery only when it is called."""
    office = _Office(settings or WorkerSettings.from_env(), telemetry or Telemetry(log, trace))
    register(app, office)
    own = {"office": office, "app": app, "ends_when_stalled": ends_when_stalled}
    app.steps["worker"].add(type("DoorbellStep", (_DoorbellStep,), own))

    def drain(**_signal: Any) -> None:
        office.drain()

    worker_shutting_down.connect(drain, weak=False)


class _Office(Office):
    """Makes what the tasks need, once a process, and not before the first of them runs."""

    def __init__(self, settings: WorkerSettings, telemetry: Telemetry) -> None:
        self.settings = settings
        self.telemetry = telemetry
        self._planner: Planner | None = None
        self._planner_pid = 0
        self._entrance: LaneEntrance | None = None
        self.doorbell: Doorbell | None = None
        self.watchdog: Watchdog | None = None

    @property
    def planner(self) -> Planner:
        """The planner of this process."""
        # A forked child has none of the threads that its parent's planner lives by.
        if self._planner is None or self._planner_pid != os.getpid():
            self._planner_pid = os.getpid()
            redis = connect(self.settings.redis_url)
            self._planner = Planner(redis, self.settings, self.telemetry)
        return self._planner

    @property
    def entrance(self) -> LaneEntrance:
        """The way into the lanes, for the Celery door."""
        if self._entrance is None:
            redis = connect(self.settings.redis_url)
            self._entrance = LaneEntrance(redis, self.settings.keys, self.settings.lane_max_bytes)
        return self._entrance

    def drain(self) -> None:
        """The process is about to end: begin nothing new."""
        if self.watchdog is not None:
            self.watchdog.stop()
        self.planner.drain()


class _DoorbellStep(bootsteps.StartStopStep):
    """Runs the doorbell and the watchdog as long as the worker runs."""

    # A pool of processes is forked before: a child must not inherit a lock from a thread of ours.
    requires = ("celery.worker.components:Pool",)

    office: _Office
    app: Celery
    ends_when_stalled: bool

    def start(self, worker: Any) -> None:
        settings = self.office.settings
        # The command line may have given the worker more or fewer threads than the settings.
        self.office.planner.turns.resize(worker.concurrency)
        redis = connect(settings.redis_url)
        self.office.doorbell = Doorbell(
            redis, settings.keys, self._ring, lambda: self.office.planner
        )
        self.office.doorbell.start()
        self.office.watchdog = Watchdog(
            connect(settings.redis_url),
            settings.keys,
            self.office.doorbell,
            lambda: self.office.planner,
            stall_seconds=settings.stall_seconds,
            end=self._end if self.ends_when_stalled else None,
        )
        self.office.watchdog.start()

    def _end(self) -> None:
        """A graceful shutdown with an exit code that is no success."""
        from celery.worker import state

        self.office.planner.drain()
        state.should_stop = EXIT_CODE

    def stop(self, _worker: Any) -> None:
        if self.office.watchdog is not None:
            self.office.watchdog.stop()
        if self.office.doorbell is not None:
            self.office.doorbell.stop()

    def _ring(self, account: str, lane: str) -> None:
        self.app.tasks["klaviyo_relay.deliver"].apply_async((account, lane))


def __getattr__(name: str) -> Celery:
    """`app`, made when Celery's command line asks for it, so that importing needs no settings."""
    if name == "app":
        globals()["app"] = create_app()
        return globals()["app"]
    raise AttributeError(name)
