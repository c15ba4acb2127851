"""Content: a file is known by all its bytes, whatever its name.

A whole file is hashed, as only that cannot take a rewritten file for the old one. It costs a second
a gigabyte or so, one part in a hundred of what loading it does.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from io import BufferedReader
from typing import IO

from msgspec import Struct

from klaviyo_relay_worker.load.errors import LoadError

_DIGEST_BYTES = 16


class Stamp(Struct, frozen=True):
    """What changes when a file is written to: its size, and when that was, in nanoseconds."""

    size: int
    written_at: int


def stamp_of(file: IO[bytes]) -> Stamp:
    """The stamp of an open file."""
    found = os.fstat(file.fileno())
    return Stamp(found.st_size, found.st_mtime_ns)


def digest_of(file: BufferedReader) -> str:
    """Digest of all bytes of a file, which is at its beginning before and after."""
    found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES))
    file.seek(0)
    return found.hexdigest()


def digest_of_name(name: str) -> str:
    """Digest of the name that a person gave to what is no file."""
    return hashlib.blake2b(f"name {name}".encode(), digest_size=_DIGEST_BYTES).hexdigest()


def claim(file: IO[bytes], name: str) -> None:
    """Be the only load of this file on this machine, until it is closed.

    Raises:
        LoadError: another one is at it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LoadError(f"{name} is being loaded by another process") from None
    except OSError:
        # A file system without locks: two loads of one file only do the same work twice.
        return
