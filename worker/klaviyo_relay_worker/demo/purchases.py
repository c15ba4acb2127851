"""The purchases: a 1/10 sample of the customers who first bought from CDNOW in early 1997.

6,919 purchases of 2,357 customers until June 1998: public research data of Peter Fader and Bruce
Hardie ("CDNOW sample"). Columns: id in the master set, id in the sample, date, number of CDs,
dollars. The data name no addresses; those made here are under a top-level domain that can never
exist (RFC 2606), and not @example.com, which Klaviyo drops in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files
from typing import NamedTuple


class Purchase(NamedTuple):
    """One order.

    Attributes:
        customer: the customer's number in the sample.
        at: noon, UTC, of the day of the order.
        discs: how many CDs.
        dollars: what they cost.
    """

    customer: str
    at: datetime
    discs: int
    dollars: float


def purchases(customers: int | None = None) -> list[Purchase]:
    """All purchases, or those of the first so many customers, by customer and time."""
    text = files(__package__).joinpath("cdnow_sample.txt").read_text("ascii")
    found = [_purchase(line) for line in text.splitlines() if line.strip()]
    wanted = set(sorted({one.customer for one in found})[:customers])
    return [one for one in found if one.customer in wanted]


def loyal_customers(found: Iterable[Purchase], orders: int = 5) -> list[str]:
    """Customers with at least so many orders."""
    counts: dict[str, int] = {}
    for one in found:
        counts[one.customer] = counts.get(one.customer, 0) + 1
    return [customer for customer, count in counts.items() if count >= orders]


def address(customer: str) -> str:
    """An address for a customer."""
    return f"customer{customer}@cdnow-sample.invalid"


def plus_address(own: str, customer: str) -> str:
    """An address for a customer that reaches somebody: name+cdnow0001@domain."""
    name, _, domain = own.rpartition("@")
    return f"{name}+cdnow{customer}@{domain}"


def _purchase(line: str) -> Purchase:
    _, customer, day, discs, dollars = line.split()
    at = datetime.strptime(day, "%Y%m%d").replace(hour=12, tzinfo=UTC)
    return Purchase(customer, at, int(discs), float(dollars))
