"""The checkup of API keys: whether Klaviyo takes them, and what they may not do.

A scope is found out by reading something that needs it; what only writing would tell is named. The
scopes of endpoints are those of Klaviyo's OpenAPI document, revision 2026-07-15.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from klaviyo_relay_worker.errors import TransportError
from klaviyo_relay_worker.finding import Finding
from klaviyo_relay_worker.klaviyo.client import KlaviyoClient
from klaviyo_relay_worker.klaviyo.exchange import Answer, Request
from klaviyo_relay_worker.limits import (
    GET_EVENTS,
    GET_LIST,
    GET_LISTS,
    GET_METRICS,
    GET_PROFILES,
    GET_SEGMENTS,
)
from klaviyo_relay_worker.settings import WorkerSettings, variable_of

_API_SECONDS = 7.0
_WRITES = "events:write, profiles:write, lists:write, subscriptions:write and data-privacy:write"
_READS = "only klaviyo_relay_worker.klaviyo reads with it"


class _Scope(Struct, frozen=True):
    """A scope, the endpoint that tells whether the key has it, and what fails without it.

    Attributes:
        is_needed: by a verb.
    """

    name: str
    endpoint: str
    without: str
    is_needed: bool


_SCOPES = (
    _Scope(
        "lists:read",
        GET_LISTS,
        "lists cannot be found by their names (add_to_list, remove_from_list, subscribe,"
        " unsubscribe, create_list), and imports cannot be followed (identify, add_to_list)",
        is_needed=True,
    ),
    _Scope(
        "profiles:read",
        GET_PROFILES,
        "people cannot be looked up (remove_from_list, unsubscribe from one list, late subscribes,"
        " delete_profile), and imports cannot be followed (identify, add_to_list)",
        is_needed=True,
    ),
    _Scope("events:read", GET_EVENTS, _READS, is_needed=False),
    _Scope("metrics:read", GET_METRICS, _READS, is_needed=False),
    _Scope("segments:read", GET_SEGMENTS, _READS, is_needed=False),
)


def check_keys(settings: WorkerSettings, list_ids: Sequence[str] = ()) -> Iterator[Finding]:
    """Whether Klaviyo takes each API key, what it lacks, and which lists are there.

    Args:
        settings: the worker's.
        list_ids: of lists that should be in one of the accounts.
    """
    if not settings.api_keys:
        yield Finding("warning", "key", "no API key here; a worker needs KLAVIYO_API_KEY")
    homes: dict[str, list[str]] = {list_id: [] for list_id in list_ids}
    for account, key in sorted(settings.api_keys.items()):
        client = KlaviyoClient(settings.api_url, key, settings.api_revision, _API_SECONDS)
        try:
            findings = list(_key(account, client))
            yield from findings
            if findings[0].level != "fault":
                yield from _lists(account, client, homes)
        except TransportError as error:
            text = f"{error}; look at KLAVIYO_API_URL and the network"
            yield Finding("fault", f"key {account}", text)
        finally:
            client.close()
    for list_id, accounts in homes.items():
        yield _home(list_id, accounts)


def _read(client: KlaviyoClient, endpoint: str, path: str = "") -> Answer:
    return client.send(Request(endpoint=endpoint, path=path or endpoint.partition(" ")[2]))


def _key(account: str, client: KlaviyoClient) -> Iterator[Finding]:
    """What is to be said of a key; one fault alone if Klaviyo does not take it at all."""
    subject = f"key {account}"
    missing, unclear = [], []
    for scope in _SCOPES:
        status = _read(client, scope.endpoint).status
        if status == 401:
            text = f"Klaviyo answers 401: it does not know the key; check {variable_of(account)}"
            yield Finding("fault", subject, text)
            return
        if status == 403:
            missing.append(scope)
        elif not 200 <= status < 300:
            unclear.append(f"{status} to {scope.endpoint}")
    if unclear:
        text = f"Klaviyo answers {', '.join(unclear)} at the moment; ask again"
        yield Finding("warning", subject, text)
        return
    yield _taken(subject, [scope for scope in missing if not scope.is_needed])
    for scope in missing:
        if scope.is_needed:
            text = f"{variable_of(account)} lacks the scope {scope.name}: {scope.without}"
            yield Finding("fault", subject, f"{text}. Make a key with it in Klaviyo")


def _taken(subject: str, missing: Sequence[_Scope]) -> Finding:
    lacks = f" It lacks {', '.join(scope.name for scope in missing)}: {_READS}." if missing else ""
    text = f"Klaviyo takes it.{lacks} Whether it may write only writing tells: it needs {_WRITES}"
    return Finding("ok", subject, f"{text}, as far as you use them")


def _lists(account: str, client: KlaviyoClient, homes: dict[str, list[str]]) -> Iterator[Finding]:
    for list_id, accounts in homes.items():
        answer = _read(client, GET_LIST, f"/api/lists/{list_id}")
        if answer.is_accepted:
            accounts.append(account)
        elif answer.status != 404:
            text = f"Klaviyo answers {answer.status} to account {account} at the moment; ask again"
            yield Finding("warning", f"list {list_id}", text)


def _home(list_id: str, accounts: Sequence[str]) -> Finding:
    subject = f"list {list_id}"
    if accounts:
        return Finding("ok", subject, f"is in the account {' and '.join(accounts)}")
    text = "is in no account whose key is here; look at its page in Klaviyo for its id"
    return Finding("fault", subject, text)
