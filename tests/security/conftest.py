"""Secrets that tell where they came from, and a site whose every secret is known."""

from __future__ import annotations

from typing import Any

import pytest

import sites
from klaviyo_relay_worker.embedded import PrivateRedis

_MARK = "kiwi7q"


site, site_of = sites.site, sites.site_of


class Secrets:
    """What must be seen nowhere but in payloads: each holds a mark that is nothing else's."""

    email = f"ada.{_MARK}@lovelace.dev"
    poisoned = f"poison.{_MARK}@lovelace.dev"
    phone = "+15005557391"
    external_id = f"customer-{_MARK}"
    name = f"Ada{_MARK}"
    note = f"a note of {_MARK}"
    list_name = "Weekly"
    api_key = f"pk_{_MARK}_0123456789abcdef"

    def __init__(self, server: PrivateRedis) -> None:
        self.redis_password = server.url.partition("://:")[2].partition("@")[0]
        self.person = {"email": self.email, "phone_number": self.phone}

    def found_in(self, text: str) -> list[str]:
        """Which of them the text holds, in whatever case or part."""
        needles = (_MARK, self.phone[1:], "lovelace", self.redis_password)
        return [one for one in needles if one in text.lower()]


@pytest.fixture
def secrets(private_redis: PrivateRedis) -> Secrets:
    """See Secrets."""
    return Secrets(private_redis)


@pytest.fixture
def guarded(site: Any, secrets: Secrets) -> Any:
    """A site whose key and password are secrets, too."""
    site.environment["KLAVIYO_API_KEY"] = secrets.api_key
    return site
