"""Where the lanes are: the forms of KLAVIYO_RELAY_REDIS_URL, taken apart.

    redis://[user:password@]host[:port][/db][?options]                      one server
    unix:///path/to/socket[?db=0]                                           the same, by a socket
    redis+sentinel://[user:password@]host[:port],host[:port]/name[/db]      whom Sentinel names
    redis+cluster://[user:password@]host[:port],host[:port]                 a cluster

`rediss` instead of `redis` speaks TLS. User and password are those of the servers that hold data;
Sentinels may have their own, as `sentinel_username` and `sentinel_password` among the options.

Of redis-py's options those may be given that say where and as whom to connect. The others are
refused: they would break what is promised (how long a call waits, that nothing is sent twice) or
what is read (bytes).

Nothing here imports redis: settings are read where it may not be imported yet.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

Kind = Literal["server", "sentinel", "cluster"]
Host = tuple[str, int]

REDIS_PORT, SENTINEL_PORT = 6379, 26379
SCHEMES = ("redis", "rediss", "unix")
# What stands behind the plus of a scheme.
_KINDS: dict[str, Kind] = {"": "server", "sentinel": "sentinel", "cluster": "cluster"}
_OF_SENTINELS = "sentinel_"
_OPTIONS: dict[Kind, frozenset[str]] = {
    "server": frozenset(("client_name", "db", "password", "username")),
    "sentinel": frozenset(("client_name", "sentinel_password", "sentinel_username")),
    "cluster": frozenset(("client_name",)),
}
_TLS_OPTIONS = frozenset(
    (
        "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile",
        "ssl_check_hostname", "ssl_ciphers", "ssl_keyfile", "ssl_min_version", "ssl_password",
    )
)  # fmt: skip
_EXAMPLES: dict[Kind, str] = {
    "server": "redis://127.0.0.1:6379/0",
    "sentinel": "redis+sentinel://one:26379,two:26379/mymaster/0",
    "cluster": "redis+cluster://one:7000,two:7001",
}
# What stands between such a character and the @ would be taken for something else, and be shown.
_UNQUOTED = "must have a ? or / or # or @ in a password as %3F or %2F or %23 or %40"
_WITH_ALL: dict[Kind, str] = {
    "sentinel": "redis+sentinel://user:password@one:26379,two:26379/mymaster/0",
    "cluster": "redis+cluster://user:password@one:7000,two:7001",
}


class RedisAddress(Struct, frozen=True):
    """A URL taken apart.

    Attributes:
        url: as it was given.
        kind: one server, the primary that Sentinels name, or a cluster.
        scheme: of a data server: redis, rediss or unix.
        hosts: Sentinels, or nodes of the cluster to ask first; none of a single server.
        service: the name by which Sentinels know the primary.
        database: its number; a cluster has 0 alone.
        credentials: `user:password@` as it stands in the URL of the latter two, or "".
        options: the pairs behind the question mark.
    """

    url: str
    kind: Kind
    scheme: str
    hosts: tuple[Host, ...] = ()
    service: str = ""
    database: int = 0
    credentials: str = ""
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, url: str) -> RedisAddress:
        """Take a URL apart.

        Raises:
            ValueError: it has none of the forms above; the text says what is wrong, without it.
        """
        parts, hosts = _taken_apart(url)
        scheme, kind = _scheme(parts.scheme)
        if scheme != "unix" and "@" in parts.path + parts.fragment:
            raise ValueError(_UNQUOTED)
        if kind == "server":
            if len(hosts) > 1:
                raise ValueError(f"must name one host; several as in {_EXAMPLES['sentinel']}")
            return cls(url, "server", scheme, options=_options(parts, scheme, kind))
        if not all(host for host, _ in hosts):
            raise ValueError(f"must name hosts, such as {_EXAMPLES[kind]}")
        service, database = _path(parts.path, kind)
        return cls(
            url=url,
            kind=kind,
            scheme=scheme,
            hosts=hosts,
            service=service,
            database=database,
            credentials=_credentials(parts),
            options=_options(parts, scheme, kind),
        )

    @property
    def place(self) -> str:
        """What tells one place from another: no password, no certificates, hosts in any order."""
        parts = split(self.url)
        query = "&".join(text for text in parts.query.split("&") if text.startswith("db="))
        if self.kind == "server":
            where = f"{parts.hostname}:{parts.port}"
        else:
            where = ",".join(sorted(f"{host}:{port}" for host, port in self.hosts))
        return urlunsplit((parts.scheme, where, parts.path, query, ""))

    def url_of(self, host: str, port: int) -> str:
        """A redis-py URL of one data server."""
        options = [pair for pair in self.options if not pair[0].startswith(_OF_SENTINELS)]
        where = f"[{host}]" if ":" in host else host
        query = f"?{urlencode(options)}" if options else ""
        return f"{self.scheme}://{self.credentials}{where}:{port}/{self.database}{query}"

    @property
    def of_sentinels(self) -> dict[str, str]:
        """Username and password of the Sentinels themselves, where they have some."""
        names = ("username", "password")
        given = dict(self.options)
        return {n: given[_OF_SENTINELS + n] for n in names if _OF_SENTINELS + n in given}

    @property
    def tls(self) -> dict[str, str] | None:
        """The options of TLS; None without TLS."""
        if self.scheme != "rediss":
            return None
        return {name: text for name, text in self.options if name.startswith("ssl_")}


def split(url: str) -> SplitResult:
    """As urlsplit, of a URL that may name several hosts.

    urlsplit itself takes no IPv6 address among them since the fix of CVE-2025-0938.

    Raises:
        ValueError: it is no URL.
    """
    scheme, found, rest = url.partition("://")
    end = re.search("[/?#]|$", rest)
    netloc = rest[: end.start()] if end else rest
    if not found or "," not in netloc:
        return urlsplit(url)
    return urlsplit(scheme + found + rest[len(netloc) :])._replace(netloc=netloc)


def _taken_apart(url: str) -> tuple[SplitResult, tuple[Host, ...]]:
    try:
        parts = split(url)
        return parts, _hosts(parts)
    except ValueError:
        # What urlsplit says may have parts of the URL in it, even the password.
        raise ValueError(f"must be a URL, such as {_EXAMPLES['server']}") from None


def _scheme(text: str) -> tuple[str, Kind]:
    """How a server is spoken to, and which kind of place it is."""
    scheme, _, form = text.partition("+")
    if scheme not in SCHEMES or form not in _KINDS:
        raise ValueError(
            "must begin with redis://, rediss://, unix://, redis+sentinel:// or"
            f" redis+cluster://, such as {_EXAMPLES['server']}"
        )
    if scheme == "unix" and form:
        raise ValueError(f"must not combine a socket with {form}")
    return scheme, _KINDS[form]


def _credentials(parts: SplitResult) -> str:
    credentials, found, _ = parts.netloc.rpartition("@")
    return credentials + found


def _hosts(parts: SplitResult) -> tuple[Host, ...]:
    default = SENTINEL_PORT if parts.scheme.endswith("sentinel") else REDIS_PORT
    ones = [urlsplit(f"//{text}") for text in parts.netloc.rpartition("@")[2].split(",")]
    return tuple((unquote(one.hostname or ""), one.port or default) for one in ones)


def _path(path: str, kind: Kind) -> tuple[str, int]:
    """The name of the primary, and the database."""
    service, _, database = path.strip("/").rpartition("/")
    if kind == "cluster":
        if path.strip("/") not in ("", "0"):
            raise ValueError(f"must end with the hosts, such as {_EXAMPLES[kind]}")
        return "", 0
    if not service:
        service, database = database, "0"
    if not service or "/" in service or not database.isdecimal():
        raise ValueError(
            "must end with the name by which the Sentinels know the primary and the database,"
            f" such as {_EXAMPLES[kind]}"
        )
    return unquote(service), int(database)


def _options(parts: SplitResult, scheme: str, kind: Kind) -> tuple[tuple[str, str], ...]:
    """The options, if all of them are allowed."""
    options = tuple(parse_qsl(parts.query))
    allowed = _OPTIONS[kind] | (_TLS_OPTIONS if scheme == "rediss" else frozenset())
    for name, text in options:
        if name not in allowed:
            raise ValueError(_refusal(name, text, scheme, kind))
        if name == "db" and not text.isdecimal():
            raise ValueError("must have a number as its option db, such as db=0")
    return options


def _refusal(name: str, text: str, scheme: str, kind: Kind) -> str:
    """Why an option may not be given, and what to do."""
    if "@" in text:
        # The name may be a part of the password.
        return _UNQUOTED
    if name in _TLS_OPTIONS and scheme != "unix":
        return f"must begin with rediss to have the option {name}"
    if name in _OPTIONS["server"] and kind != "server":
        return f"must have no option {name}: it belongs before the ?, such as {_WITH_ALL[kind]}"
    known = ", ".join(sorted(_OPTIONS[kind]))
    return (
        f"must have no option {name}: leave it out. Time-outs, retries and encodings are set"
        f" already; there are {known}, and with rediss those of TLS, such as ssl_ca_certs"
    )
