"""The names of all keys in Redis: one place, so that both sides and the docs agree.

`{account:lane}` is a Redis Cluster hash tag: all keys of a lane live in one slot, so one script can
settle a batch. See docs/internals.md for what each key holds.
"""

from __future__ import annotations

from msgspec import Struct

DEFAULT_NAMESPACE = "kr"


class LaneKeys(Struct, frozen=True):
    """The keys of one lane of one account.

    Attributes:
        name: `account:lane`, as it stands in the register and in doorbell messages.
        prefix: what all keys in the lane's slot begin with.
    """

    name: str
    prefix: str
    stream: str
    marks: str
    counts: str
    lease: str
    state: str
    parked: str
    due: str
    dead: str
    following: str
    rows: str
    journal: str


class QuotaKeys(Struct, frozen=True):
    """The keys of one endpoint's quota, in one slot.

    Attributes:
        times: of the last requests.
        state: hash: what Klaviyo said of the limits, our share of them, until when to wait.
    """

    times: str
    state: str


class Keys(Struct, frozen=True):
    """Key names under one namespace."""

    namespace: str = DEFAULT_NAMESPACE

    @property
    def register(self) -> str:
        """Set of the names of all lanes that ever had a command."""
        return f"{self.namespace}:lanes"

    @property
    def doorbell(self) -> str:
        """Pub/sub channel on which a lane's name is published when it has new work."""
        return f"{self.namespace}:doorbell"

    @property
    def audit(self) -> str:
        """Stream of what people did on the dashboard; the oldest go."""
        return f"{self.namespace}:audit"

    def lane(self, account: str, lane: str) -> LaneKeys:
        """The keys of a lane."""
        name = f"{account}:{lane}"
        prefix = f"{self.namespace}:{{{name}}}"
        return LaneKeys(
            name=name,
            prefix=prefix,
            stream=f"{prefix}:stream",
            marks=f"{prefix}:marks",
            counts=f"{prefix}:counts",
            lease=f"{prefix}:lease",
            state=f"{prefix}:state",
            parked=f"{prefix}:parked",
            due=f"{prefix}:due",
            dead=f"{prefix}:dead",
            following=f"{prefix}:following",
            rows=f"{prefix}:rows",
            journal=f"{prefix}:journal",
        )

    def rung(self, name: str) -> str:
        """Key that exists while a delivery of the lane has been asked for and has not begun."""
        return f"{self.namespace}:rung:{name}"

    def breaker(self, account: str, family: str) -> str:
        """Hash of a circuit breaker: of one family of endpoints, or with "" of the account."""
        return f"{self.namespace}:breaker:{account}:{family}"

    def lists(self, account: str) -> str:
        """Hash of list name -> list id, as learned from Klaviyo."""
        return f"{self.namespace}:lists:{account}"

    def created(self, account: str, identity: str) -> str:
        """The id of the list that the create_list command `identity` made or found."""
        return f"{self.namespace}:created:{account}:{identity}"

    def quota(self, account: str, endpoint: str) -> QuotaKeys:
        """What is counted of one endpoint; an endpoint's own braces would break the hash tag."""
        tag = f"{account}:{endpoint}".replace("{", "<").replace("}", ">")
        prefix = f"{self.namespace}:{{{tag}}}"
        return QuotaKeys(times=f"{prefix}:times", state=f"{prefix}:quota")

    @property
    def secret(self) -> str:
        """Random bytes that key the hashes of people's identifiers."""
        return f"{self.namespace}:secret"

    def forgotten(self, account: str) -> str:
        """Hash of keyed hash of an identifier -> tombstone of a person to be forgotten."""
        return f"{self.namespace}:forgotten:{account}"

    def clock(self, account: str) -> str:
        """Hash of keyed hash of an address -> the latest withdrawals of its consent."""
        return f"{self.lane(account, 'consent').prefix}:clock"

    def joins(self, account: str) -> str:
        """Hash of keyed hash of person and list -> when we last made the one join the other.

        Only of those for whom an unsubscribe waits.
        """
        return f"{self.lane(account, 'consent').prefix}:joins"


def split(name: str) -> tuple[str, str]:
    """Account and lane of a lane's name."""
    account, _, lane = name.partition(":")
    return account, lane
