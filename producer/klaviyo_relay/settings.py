"""The producer's settings: one frozen object, from the environment or by hand.

Unset is not the same as default: `None` means that nobody chose, and the default stands in the
field's comment. Every fault is reported at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from klaviyo_relay.errors import ConfigurationError
from klaviyo_relay.first_imports import import_whole
from klaviyo_relay.keys import DEFAULT_NAMESPACE, Keys
from klaviyo_relay.redis_address import RedisAddress, split

PREFIX = "KLAVIYO_RELAY_"
DEFAULT_REDIS_URL = "redis://127.0.0.1:6379/0"
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,32}")
# redis-py takes it there too, and for unix:// it documents no other place.
_PASSWORD_IN_QUERY = re.compile(r"([?&](?:sentinel_|ssl_)?password=)[^&#]*")


class Settings(Struct, frozen=True, kw_only=True):
    """How a producer stores and ships.

    Attributes:
        redis_url: the Redis (7 or later) or Valkey (7.2 or later) that holds the lanes:
            redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://; `redis_address`
            tells their forms. Defaults to redis://127.0.0.1:6379/0.
        spool_dir: directory of the spool files; it must be on a local disk that survives a restart.
            Defaults to $XDG_STATE_HOME/klaviyo-relay/spool, or that under ~/.local/state.
        namespace: prefix of all keys in Redis. Defaults to "kr".
        durability: "normal" survives the death of the process; "full" also syncs the disk at each
            commit and survives a power cut. Defaults to "normal"; unsubscribe and delete_profile
            are always "full".
        lane_max_bytes: a lane that holds more takes no more; the spool keeps the rest.
            Defaults to 1,000,000,000.
        ship: "background" ships from a thread; "sync" also waits in the call until Redis has the
            command, at most `sync_seconds`, for processes that may be frozen right after it
            (serverless handlers). Defaults to "background".
        sync_seconds: Defaults to 2.
        exit_seconds: how long the end of the process may wait for what is unshipped; the rest
            stays in the spool and is shipped later. Defaults to 2.
    """

    redis_url: str = DEFAULT_REDIS_URL
    spool_dir: Path | str | None = None
    namespace: str = DEFAULT_NAMESPACE
    durability: Literal["normal", "full"] = "normal"
    lane_max_bytes: int = 1_000_000_000
    ship: Literal["background", "sync"] = "background"
    sync_seconds: float = 2.0
    exit_seconds: float = 2.0

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Settings from KLAVIYO_RELAY_… variables; an empty one counts as unset.

        Raises:
            ConfigurationError: with every fault found.
        """
        given = {
            name: environ[PREFIX + name.upper()]
            for name in cls.__struct_fields__
            if environ.get(PREFIX + name.upper())
        }
        faults: list[str] = []
        values: dict[str, Any] = {
            name: _PARSERS[name](name, text, faults) for name, text in given.items()
        }
        if faults:
            raise ConfigurationError(faults)
        return cls(**values)

    @property
    def keys(self) -> Keys:
        """The names of the keys in Redis."""
        return Keys(self.namespace)

    @property
    def spool_directory(self) -> Path:
        """`spool_dir`, or the default for this user."""
        # A text will do as well, as everywhere in Python.
        return Path(self.spool_dir) if self.spool_dir else default_spool_directory()

    @property
    def digest(self) -> str:
        """Eight characters that tell one Redis and namespace from another.

        Spool files carry it, so that staging's commands never reach production. Passwords and
        certificates are left out: they may change while commands wait.

        Raises:
            ConfigurationError: `redis_url` is no address.
        """
        try:
            place = RedisAddress.of(self.redis_url).place
        except ValueError as error:
            raise ConfigurationError([f"{PREFIX}REDIS_URL {error}"]) from None
        import_whole("hashlib")
        from hashlib import blake2b

        return blake2b(f"{place}\n{self.namespace}".encode(), digest_size=4).hexdigest()

    def __repr__(self) -> str:
        """The settings without the password in the URL."""
        return (
            f"Settings(redis_url={masked(self.redis_url)!r},"
            f" spool_dir={str(self.spool_directory)!r},"
            f" namespace={self.namespace!r}, durability={self.durability!r})"
        )


def default_spool_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's state directory, or one under the temporary directory where there is no home."""
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "klaviyo-relay" / "spool"
    try:
        return Path.home() / ".local" / "state" / "klaviyo-relay" / "spool"
    except RuntimeError:  # no home directory can be found for this user
        import_whole("tempfile")
        import tempfile

        return Path(tempfile.gettempdir()) / f"klaviyo-relay-{os.getuid()}" / "spool"


def masked(url: str) -> str:
    """A URL with its password replaced."""
    url = _PASSWORD_IN_QUERY.sub(r"\1***", url)
    parts = split(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@")


def redis_url(name: str, text: str, faults: list[str]) -> str:
    """The URL of a server, of Sentinels or of a cluster."""
    try:
        RedisAddress.of(text)
    except ValueError as error:
        faults.append(f"{PREFIX}{name.upper()} {error}")
    return text


def namespace(name: str, text: str, faults: list[str]) -> str:
    """One to 32 letters, digits, - and _."""
    if not _NAMESPACE.fullmatch(text):
        faults.append(f"{PREFIX}{name.upper()} must be 1-32 letters, digits, - or _")
    return text


def number(name: str, text: str, faults: list[str]) -> float:
    """A number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        faults.append(f"{PREFIX}{name.upper()} must be a number of at least 0, such as 2")
    return value


def integer(name: str, text: str, faults: list[str]) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) == 0:
        faults.append(f"{PREFIX}{name.upper()} must be a whole number of at least 1")
        return 0
    return int(text)


def _path(name: str, text: str, faults: list[str]) -> Path:
    path = Path(text)
    with suppress(RuntimeError):  # ~somebody who has no home here: not absolute, said below
        path = path.expanduser()
    if not path.is_absolute():
        faults.append(f"{PREFIX}{name.upper()} must be an absolute path")
    return path


def _durability(name: str, text: str, faults: list[str]) -> str:
    if text not in ("normal", "full"):
        faults.append(f"{PREFIX}{name.upper()} must be normal or full")
    return text


def _ship(name: str, text: str, faults: list[str]) -> str:
    if text not in ("background", "sync"):
        faults.append(f"{PREFIX}{name.upper()} must be background or sync")
    return text


_PARSERS = {
    "redis_url": redis_url,
    "spool_dir": _path,
    "namespace": namespace,
    "durability": _durability,
    "lane_max_bytes": integer,
    "ship": _ship,
    "sync_seconds": number,
    "exit_seconds": number,
}
