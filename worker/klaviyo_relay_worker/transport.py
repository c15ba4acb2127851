"""Celery's Redis transport, mended so that a restart of Redis does not end the worker.

In kombu 5.7.0 the connection is closed twice when Redis goes away; the second time it stumbles
over what the first has cleared (AttributeError on a `None` client, in `restore_unacked_once`), and
the worker process exits. Nothing needs to be restored there: our deliveries are acknowledged on
receipt, and what the Celery door has not acknowledged comes back by the visibility time-out.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


class QoS(redis.QoS):
    """Restores nothing over a connection that is gone."""

    def restore_unacked_once(self, stderr: Any = None) -> Any:
        """As the original, unless the connection is gone already."""
        try:
            return super().restore_unacked_once(stderr)
        except (AttributeError, *redis.Transport.connection_errors):
            self._delivered.restored = True  # type: ignore[attr-defined]
            return None


class Channel(redis.Channel):
    """Uses the mended QoS."""

    QoS = QoS


class Transport(redis.Transport):
    """Uses the mended channel."""

    Channel = Channel
