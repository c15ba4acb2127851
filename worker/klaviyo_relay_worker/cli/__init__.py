"""The command line: `klaviyo-relay`.

The console script exists in the base install too, so a missing extra must be said politely.
Exit codes: 0 done, 1 failed, 2 wrong usage or settings, or an
extra is missing.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line."""
    missing = [
        name for name in ("celery", "click", "requests", "structlog") if find_spec(name) is None
    ]
    if missing:
        message = f'klaviyo-relay: {missing[0]} is missing; pip install "klaviyo-relay[worker]"'
        print(message, file=sys.stderr)  # noqa: T201 - there is no logging yet
        raise SystemExit(2)
    from klaviyo_relay_worker.cli.commands import run

    run()
