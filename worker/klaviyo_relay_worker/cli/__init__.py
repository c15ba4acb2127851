"""The command line: `klaviyo-relay`.

The console script exists in the base install too, so a missing extra must be said politely.
Exit codes: 0 done, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        import celery  # noqa: F401 - only to know whether the extra is there
        import click  # noqa: F401
    except ImportError as error:
        message = f'klaviyo-relay: {error.name} is missing; pip install "klaviyo-relay[worker]"'
        print(message, file=sys.stderr)  # noqa: T201 - there is no logging yet
        raise SystemExit(1) from None
    from klaviyo_relay_worker.cli.commands import run

    run()
