"""Where the dashboard listens, by which names it may be asked for, and who may ask."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address

from msgspec import Struct

from klaviyo_relay.errors import ConfigurationError

TOKEN = "KLAVIYO_RELAY_DASHBOARD_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_LENGTH_LEAST = 16
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 8765
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Binding(Struct, frozen=True, kw_only=True):
    """How the dashboard is reached.

    Attributes:
        host: address to listen at. Defaults to loopback.
        port: 0 for any that is free. Defaults to 8765.
        names: further host names by which a proxy asks.
        token: whoever wants in must know it; "" for no token, on loopback only.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    names: tuple[str, ...] = ()
    token: str = ""

    @classmethod
    def from_env(
        cls,
        host: str = DEFAULT_HOST,
        port: int = DEFAULT_PORT,
        names: tuple[str, ...] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> Binding:
        """With the token of the environment.

        Raises:
            ConfigurationError: the token is too short, or there must be one.
        """
        lower = tuple(name.lower() for name in names)
        made = cls(host=host, port=port, names=lower, token=environ.get(TOKEN, ""))
        made.check()
        return made

    def check(self) -> None:
        """Refuse what would let strangers in.

        Raises:
            ConfigurationError: the token is too short, or there must be one.
        """
        if self.token and len(self.token) < TOKEN_LENGTH_LEAST:
            fault = f"{TOKEN} must have at least {TOKEN_LENGTH_LEAST} characters"
            raise ConfigurationError([fault])
        if not self.token and not (self.is_loopback and not self.names):
            fault = (
                f"set {TOKEN} (at least {TOKEN_LENGTH_LEAST} characters): beyond this machine"
                " the dashboard needs one"
            )
            raise ConfigurationError([fault])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def allows(self, name: str) -> bool:
        """Whether a request may ask for this host.

        A page of somebody else's whose name is made to point here (DNS rebinding) asks for that
        name; a name can be rebound, an address cannot.
        """
        if name in LOOPBACK_NAMES or name in self.names or name == self.host.lower():
            return True
        return not self.is_loopback and _is_address(name)


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if name.lower() in LOOPBACK_NAMES:
        return True
    return _is_address(name) and ip_address(name).is_loopback


def host_name(header: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    header = header.strip().lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
