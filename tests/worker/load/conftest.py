"""What the tests of loading share: sources in a directory of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from klaviyo_relay_worker.load.mapping import Mapping
from klaviyo_relay_worker.load.order import Order
from klaviyo_relay_worker.load.preview import preview
from klaviyo_relay_worker.load.sources import Source, Where, open_source

ORDERS = Mapping(verb="track", constants={"metric": "Placed Order"})


class Desk:
    """Writes files, and opens them as sources."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: list[Source] = []

    def write(self, content: str | bytes, name: str = "orders.csv") -> str:
        """A file; its path."""
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def order(self, target: str, mapping: Mapping = ORDERS, **more: Any) -> Order:
        """An order for a file."""
        names = [name for name in more if name in Where.__struct_fields__]
        where = Where(target=target, **{name: more.pop(name) for name in names})
        return Order(where=where, mapping=mapping, account="default", **more)

    def open(self, order: Order) -> Source:
        """Open its source; closed after the test."""
        source = open_source(order.where, lambda _text: None)
        self._open.append(source)
        return source

    def preview(self, order: Order) -> tuple[list[dict[str, Any]], list[Any]]:
        """All commands and all refusals."""
        source = self.open(order)
        shown: list[Any] = []
        refused: list[Any] = []
        preview(source, order.maker_of(source), 10**9, shown.append, refused.append)
        source.reader.close()
        return [msgspec.json.decode(one) for one in shown], refused

    def commands(
        self, content: str, mapping: Mapping = ORDERS, **more: Any
    ) -> list[dict[str, Any]]:
        """The commands of a file, without the fields that are always there; none is refused."""
        name = more.pop("file", "orders.csv")
        found, refused = self.preview(self.order(self.write(content, name), mapping, **more))
        assert refused == []
        constant = ("verb", "metric", "backfill", "unique_id")
        return [{k: v for k, v in one.items() if k not in constant} for one in found]

    def refusals(self, content: str | bytes, mapping: Mapping = ORDERS, **more: Any) -> list[Any]:
        """Line, field and reason of all refused rows of a file."""
        name = more.pop("file", "orders.csv")
        _, refused = self.preview(self.order(self.write(content, name), mapping, **more))
        return [(one.line, one.field, one.reason) for one in refused]

    def close(self) -> None:
        """Close all files."""
        for source in self._open:
            source.reader.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """See Desk."""
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def faults_of(desk: Desk) -> Callable[..., list[str]]:
    """What is wrong with a mapping for a file."""
    from klaviyo_relay_worker.load.errors import UsageFaultsError

    def find(content: str, mapping: Mapping, **more: Any) -> list[str]:
        with pytest.raises(UsageFaultsError) as caught:
            desk.preview(
                desk.order(desk.write(content, more.pop("file", "orders.csv")), mapping, **more)
            )
        return list(caught.value.faults)

    return find
