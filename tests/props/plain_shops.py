"""Applications with a Celery of their own, which know only the names of our tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from celery import Celery


class PlainShop:
    """A Celery client at a broker.

    Attributes:
        app: the Celery application.
    """

    QUEUE = "klaviyo"

    def __init__(self, broker_url: str) -> None:
        self.app = Celery("shop", broker=broker_url, set_as_current=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, verb: str, *args: Any, task_id: str | None = None, **kwargs: Any) -> str:
        """Ask for a task of the Celery door; returns the task's id."""
        return self.send_task(f"klaviyo_relay.{verb}", args, kwargs, task_id=task_id)

    def send_task(
        self,
        name: str,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        **how: Any,
    ) -> str:
        """Ask for any task, in the door's queue."""
        return str(
            self.app.send_task(
                name, args=args, kwargs=kwargs, queue=self.QUEUE, ignore_result=True, **how
            ).id
        )

    def close(self) -> None:
        """End its connections."""
        self.app.close()
