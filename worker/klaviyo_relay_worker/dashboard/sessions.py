"""Sessions: who has given the token, and the tokens in forms that show whose page a form is on."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from hmac import compare_digest, digest

COOKIE = "klaviyo_relay_dashboard"
LASTS_SECONDS = 12 * 3600
_SESSIONS_MOST = 1_000
# Wrong tokens from one address, within this time, before it has to wait.
_WRONG_MOST, _WRONG_SECONDS = 5, 60.0
_ADDRESSES_MOST = 10_000


class Sessions:
    """Sessions in this process's memory: they end with it.

    Args:
        token: whoever knows it may open a session; "" if none is needed.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._secret = secrets.token_bytes(32)
        self._open: dict[str, float] = {}
        self._wrong: dict[str, deque[float]] = {}
        self._guard = threading.Lock()

    @property
    def are_needed(self) -> bool:
        """Whether nobody gets in without."""
        return bool(self._token)

    def open(self, token: str) -> str | None:
        """A new session for whoever knows the token, else None."""
        if not self._token or not compare_digest(token.encode(), self._token):
            return None
        made = secrets.token_urlsafe(32)
        with self._guard:
            if len(self._open) >= _SESSIONS_MOST:
                del self._open[next(iter(self._open))]
            self._open[made] = time.monotonic() + LASTS_SECONDS
        return made

    def has(self, session: str) -> bool:
        """Whether this session is open."""
        with self._guard:
            return self._open.get(session, 0.0) > time.monotonic()

    def close(self, session: str) -> None:
        """End a session."""
        with self._guard:
            self._open.pop(session, None)

    def form_token(self, session: str) -> str:
        """What every form of this session carries; a page of somebody else's cannot know it."""
        return digest(self._secret, session.encode(), "sha256").hex()

    def is_form_token(self, session: str, given: str) -> bool:
        """Whether a form is of this session."""
        return compare_digest(given.encode(), self.form_token(session).encode())

    def may_try(self, address: str) -> bool:
        """Whether an address has not given too many wrong tokens lately."""
        with self._guard:
            wrong = self._wrong.get(address)
            return not wrong or len(wrong) < _WRONG_MOST or wrong[0] < _since()

    def note_wrong(self, address: str) -> None:
        """An address gave a wrong token."""
        with self._guard:
            if address not in self._wrong and len(self._wrong) >= _ADDRESSES_MOST:
                del self._wrong[next(iter(self._wrong))]
            self._wrong.setdefault(address, deque(maxlen=_WRONG_MOST)).append(time.monotonic())


def _since() -> float:
    return time.monotonic() - _WRONG_SECONDS
