"""All that is imported until redis has answered for the first time: by importing this module.

redis, getaddrinfo and the reading of our scripts import some of it only when they are first used,
which is too late for a child that is forked meanwhile; see `first_imports`.
"""

# ruff: noqa: F401 - for their effect

from __future__ import annotations

import email.parser
import encodings.ascii
import encodings.idna
from contextlib import suppress
from importlib import metadata

from redis import ConnectionPool

from klaviyo_relay import cluster_client, primary_pool

# Making one connects to nothing.
ConnectionPool()
# redis-py asks for its own version at its first connection, which imports more (Python 3.13).
with suppress(metadata.PackageNotFoundError):
    metadata.version("redis")
