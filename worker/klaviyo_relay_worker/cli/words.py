"""Words: Klaviyo's errors as one sentence for a person at a command line."""

from __future__ import annotations

from klaviyo_relay.errors import RelayError
from klaviyo_relay_worker.cli.plain_text import plain
from klaviyo_relay_worker.errors import RateLimitError, RefusedError


def sentence(error: RelayError) -> str:
    """What went wrong, with what Klaviyo says of it or what would help."""
    text = str(error)
    if isinstance(error, RateLimitError):
        text += f"; ask again in {error.retry_after:.0f} s, or wait longer with --patience"
    if isinstance(error, RefusedError):
        details = dict.fromkeys(one.detail for one in error.failures if one.detail)
        text += "".join(f"; {detail}" for detail in details)
    return plain(text)
