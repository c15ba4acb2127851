"""Replication: up to when what the servers confirmed is at a replica of theirs, too.

A primary that is cut off, or whose replicas are behind, confirms what its successor will not have.
So whoever has shipped keeps its rows until a replica has them, however long that takes.

INFO tells a primary's offset, and what each replica says that it has ("slave0:…,offset=…", Redis
7.0 and Valkey 9.1). A server that has never had a replica is one that nobody succeeds.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Sequence
from typing import Any

_REPLICA = re.compile(r"slave\d+")
# One a second. If replicas are behind for longer, the oldest are forgotten, and newer ones tell.
_SAMPLES_MOST = 600


class Replication:
    """Of all primaries that hold lanes.

    Attributes:
        until: monotonic seconds; what was confirmed by then is replicated. Infinite without
            replicas.
    """

    def __init__(self) -> None:
        self.until = math.inf
        self._incarnation = ""
        self._samples: deque[tuple[float, list[int]]] = deque(maxlen=_SAMPLES_MOST)

    def note(self, asked_at: float, incarnation: str, infos: Sequence[dict[str, Any]]) -> None:
        """What the primaries have answered to INFO, which they were asked at `asked_at`."""
        found = [_replicated(info) for info in infos]
        if self.until == math.inf:
            if all(offset is None for offset in found):
                return
            self.until = -math.inf
        if incarnation != self._incarnation:
            self._incarnation = incarnation
            self._samples.clear()
        self._samples.append((asked_at, [int(info["master_repl_offset"]) for info in infos]))
        while self._samples and _reach(found, self._samples[0][1]):
            self.until = self._samples.popleft()[0]


def _replicated(info: dict[str, Any]) -> int | None:
    """The offset of the replica that has most; None without replicas."""
    replicas = [info[name] for name in info if _REPLICA.fullmatch(name)]
    return max((int(one["offset"]) for one in replicas if one["state"] == "online"), default=None)


def _reach(found: Sequence[int | None], wanted: Sequence[int]) -> bool:
    pairs = zip(found, wanted, strict=True)
    return all(have is not None and have >= offset for have, offset in pairs)
