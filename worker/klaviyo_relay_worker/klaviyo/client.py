"""The HTTP client: the only module that knows `requests`, and the one seam where its errors end.

requests' and urllib3's errors
    before the request was written  ->  NotSentError
    everything else                 ->  AnswerLostError
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.poolmanager import PoolManager

from klaviyo_relay_worker.errors import AnswerLostError, NotSentError
from klaviyo_relay_worker.klaviyo.deadline import current, deadline
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request

# Seconds that a connection may take, as a part of the request's deadline.
CONNECT_SECONDS = 4.0
CONNECTIONS = 64
_JSON_API = "application/vnd.api+json"
_PORTS = {"http": 80, "https": 443}
# urllib3 logs each URL at the level DEBUG, and the filter in ours may name a person.
logging.getLogger("urllib3.connectionpool").addFilter(lambda _record: current() is None)


class _Watched:
    """Mixed into a connection: hands its socket to the deadline of the request under way."""

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        watcher = current()
        if watcher is not None:
            watcher.watch(self.sock)
        super().request(*args, **kwargs)  # type: ignore[misc]  # the connection's


class _WatchedConnection(_Watched, HTTPConnection):
    pass


class _WatchedSecureConnection(_Watched, HTTPSConnection):
    pass


class _WatchedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _watch_connections_of(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        _watch_connections_of(manager)
        return manager


def _watch_connections_of(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {
        "http": type("WatchedPool", (HTTPConnectionPool,), {"ConnectionCls": _WatchedConnection}),
        "https": type(
            "WatchedSecurePool", (HTTPSConnectionPool,), {"ConnectionCls": _WatchedSecureConnection}
        ),
    }


def _unchanged(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """An `auth` of our own, so that no .netrc of the machine replaces the Authorization header."""
    return prepared


class KlaviyoClient:
    """Sends requests for one account. Safe to use from several threads.

    Args:
        url: https://a.klaviyo.com, or a sandbox.
        api_key: private key of the account.
        revision: API revision, a date.
        seconds: total deadline of one request, whatever the server does.

    Attributes:
        seconds: the same.
        host, port: of the URL.
    """

    def __init__(self, url: str, api_key: str, revision: str, seconds: float) -> None:
        self._url = url.rstrip("/")
        self.seconds = seconds
        self.host, self.port = _address(url)
        self._session = requests.Session()
        self._session.auth = _unchanged
        adapter = _WatchedAdapter(pool_connections=4, pool_maxsize=CONNECTIONS, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        self._session.headers = {
            "Authorization": f"Klaviyo-API-Key {api_key}",
            "revision": revision,
            "accept": _JSON_API,
            "user-agent": f"klaviyo-relay/{version('klaviyo-relay')}",
        }

    def send(self, request: Request) -> Answer:
        """Send a request and read its whole answer.

        Raises:
            NotSentError: no connection; Klaviyo knows nothing of the request.
            AnswerLostError: it was sent, and no whole answer came within the deadline.
        """
        headers = {"content-type": _JSON_API} if request.body is not None else None
        try:
            with deadline(self.seconds) as mine:
                response = self._session.request(
                    request.method,
                    self._url + request.path,
                    data=request.body,
                    headers=headers,
                    timeout=(min(CONNECT_SECONDS, self.seconds), self.seconds),
                    allow_redirects=False,
                )
        except (requests.RequestException, HTTPError, OSError) as error:
            # Without the chain: it would carry the URL, whose filter may name a person.
            raise _translated(error) from None
        if mine.has_passed:
            # The shut socket may look like the end of an answer that gave no length.
            raise AnswerLostError("no whole answer from Klaviyo within the deadline")
        names = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, names, response.content)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _address(url: str) -> tuple[str, int]:
    """Host and port of a URL; what cannot be read is left to the first request to complain of."""
    parts = urlsplit(url)
    try:
        return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return parts.hostname or "", 0


def _translated(error: Exception) -> NotSentError | AnswerLostError:
    if isinstance(error, requests.ConnectTimeout) or _is_refusal(error):
        return NotSentError(f"no connection to Klaviyo ({type(error).__name__})")
    return AnswerLostError(f"no answer from Klaviyo ({type(error).__name__})")


def _is_refusal(error: BaseException) -> bool:
    """Whether the connection itself could not be made, as urllib3 tells it somewhere inside."""
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", None)
    return isinstance(reason, NewConnectionError) or isinstance(error, NewConnectionError)
