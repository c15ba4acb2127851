"""Estimate: when Klaviyo will have what waits, by its limits.

It is a lower bound: other integrations of the account share the limits, live commands go first, and
retries take requests too.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from klaviyo_relay.commands import (
    AddToList,
    Command,
    DeleteProfile,
    Identify,
    Subscribe,
    Suppress,
    Track,
    Unsubscribe,
    Unsuppress,
)
from klaviyo_relay_worker import limits
from klaviyo_relay_worker.klaviyo.query import FILTER_MOST
from klaviyo_relay_worker.plan.batch import BODY_MAX_BYTES
from klaviyo_relay_worker.plan.consent import OTHERS_MOST, SUBSCRIBE_MOST
from klaviyo_relay_worker.plan.events import BULK_MOST as EVENTS_MOST
from klaviyo_relay_worker.plan.profiles import BULK_MOST as PROFILES_MOST

_MINUTE = 60.0
# Kind -> the endpoint that bounds it, and how many commands a request takes. Removals are bounded
# by the look-ups before them; commands on lists themselves go one by one.
_BOUNDS: dict[type[Command], tuple[str, int]] = {
    Track: (limits.BULK_CREATE_EVENTS, EVENTS_MOST),
    Identify: (limits.BULK_IMPORT_PROFILES, PROFILES_MOST),
    AddToList: (limits.BULK_IMPORT_PROFILES, PROFILES_MOST),
    Subscribe: (limits.BULK_SUBSCRIBE, SUBSCRIBE_MOST),
    Unsubscribe: (limits.BULK_UNSUBSCRIBE, OTHERS_MOST),
    Suppress: (limits.BULK_SUPPRESS, OTHERS_MOST),
    Unsuppress: (limits.BULK_UNSUPPRESS, OTHERS_MOST),
    DeleteProfile: (limits.DELETE_PROFILE, 1),
}
_OTHERS = (limits.GET_PROFILES, FILTER_MOST)


def seconds_for(counts: Mapping[type[Command], int], mean_bytes: float) -> float:
    """How long Klaviyo takes at least for so many commands of each kind.

    Args:
        counts: kind -> commands.
        mean_bytes: of a command's message; a request has its limit of bytes, too.
    """
    requests: dict[str, int] = {}
    for kind, count in counts.items():
        endpoint, most = _BOUNDS.get(kind, _OTHERS)
        most = max(1, min(most, int(BODY_MAX_BYTES / max(1.0, mean_bytes))))
        requests[endpoint] = requests.get(endpoint, 0) + ceil(count / most)
    return max(
        (
            many * _MINUTE / limits.RATE_LIMITS[endpoint].minute
            for endpoint, many in requests.items()
        ),
        default=0.0,
    )
