"""What ends a load before its end. Refused rows do not: see `rejects`."""

from __future__ import annotations

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay_worker.errors import WorkerError


class LoadError(WorkerError):
    """The load cannot go on; what it has shipped so far stays shipped."""


class UsageFaultsError(ConfigurationError):
    """Flags, mapping and data do not fit together; every fault says how to mend it."""
