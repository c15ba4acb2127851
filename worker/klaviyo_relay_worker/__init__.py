"""The worker of klaviyo-relay: Celery tasks that deliver commands to Klaviyo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    from klaviyo_relay_worker.settings import WorkerSettings
    from klaviyo_relay_worker.telemetry.event import Telemetry

__all__ = ["install"]


def install(
    app: Celery,
    settings: WorkerSettings | None = None,
    *,
    ends_when_stalled: bool = False,
    telemetry: Telemetry | None = None,
) -> None:
    """Register the verbs, `deliver`, the doorbell and the watchdog in a Celery app of yours.

    The app's worker must consume the queues "klaviyo" and "klaviyo.deliver".

    Args:
        app: the application's.
        settings: Defaults to `WorkerSettings.from_env()`.
        ends_when_stalled: the worker ends with exit code 70 when deliveries stand still, for its
            supervisor to start it anew. Without it that is only logged, at the level CRITICAL: the
            application's other tasks may be well.
        telemetry: hears of deliveries. Defaults to logs and traces.

    Raises:
        ConfigurationError: the environment has settings that cannot work.
    """
    from klaviyo_relay_worker.app import install as install_into

    install_into(app, settings, ends_when_stalled=ends_when_stalled, telemetry=telemetry)
