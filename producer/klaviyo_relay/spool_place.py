"""Where a spool stands: whether what is written there lasts as long as its users believe."""

from __future__ import annotations

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
# File system, as Linux writes it in /proc/self/mounts -> why a spool should not stand on it.
UNSUITABLE = {
    "overlay": "a container's own layer goes with the container; mount a volume",
    "aufs": "a container's own layer goes with the container; mount a volume",
    "tmpfs": "memory: its files go with the machine; use a directory on a disk",
    "ramfs": "memory: its files go with the machine; use a directory on a disk",
    "nfs": "a network file system: SQLite's locks are not safe there; use a local disk",
    "nfs4": "a network file system: SQLite's locks are not safe there; use a local disk",
    "cifs": "a network file system: SQLite's locks are not safe there; use a local disk",
    "smb3": "a network file system: SQLite's locks are not safe there; use a local disk",
    "9p": "a shared folder of the host: SQLite's locks may not be safe there; use a volume",
    "fuse.sshfs": "a network file system: SQLite's locks are not safe there; use a local disk",
}


def file_system_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """The type of the file system under a path, or None where this system does not tell.

    Args:
        path: need not exist yet; then its nearest existing parent counts.
        mounts: a table in the form of /proc/self/mounts (Linux).
    """
    try:
        table = mounts.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    place = os.path.realpath(path)
    best, found = -1, None
    for line in table.splitlines():
        fields = line.split(" ")
        at = fields[1].replace("\\040", " ")
        is_above = place == at or place.startswith(at.rstrip("/") + "/")
        # A later line with the same mount point is mounted over an earlier one.
        if is_above and len(at) >= best:
            best, found = len(at), fields[2]
    return found


def why_unsuitable(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Why a spool should not stand there, or None where nothing speaks against it."""
    found = file_system_of(path, mounts)
    reason = UNSUITABLE.get(found or "")
    return f"{path} is on {found}: {reason}" if reason else None
