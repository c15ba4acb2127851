"""`python -m klaviyo_relay.outbox URL`: a relay as a process of its own."""

from __future__ import annotations

import sys

from klaviyo_relay.outbox.process import main

if __name__ == "__main__":
    sys.exit(main())
