"""The worker of klaviyo-relay: Celery tasks that deliver commands to Klaviyo."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

    from klaviyo_relay_worker.settings import WorkerSettings

__all__ = ["install"]


def install(app: Celery, settings: WorkerSettings | None = None) -> None:
    """Register the verbs, `deliver` and the doorbell in an application's own Celery app.

    The app's worker must consume the queues "klaviyo" and "klaviyo.deliver".

    Args:
        app: the application's.
        settings: Defaults to `WorkerSettings.from_env()`.

    Raises:
        ConfigurationError: the environment has settings that cannot work.
    """
    from klaviyo_relay_worker.app import install as install_into

    install_into(app, settings)
