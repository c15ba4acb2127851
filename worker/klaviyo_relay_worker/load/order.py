"""The order: all that a person says of a load, and what follows from it once the source is open."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from msgspec import Struct

from klaviyo_relay_worker.load.assembly import assembler
from klaviyo_relay_worker.load.errors import UsageFaultsError
from klaviyo_relay_worker.load.making import (
    Maker,
    MappedMaker,
    ReadyMaker,
    by_key,
    key_reader,
    keyed,
    numbered,
)
from klaviyo_relay_worker.load.mapping import Mapping
from klaviyo_relay_worker.load.roles import roles_of
from klaviyo_relay_worker.load.sources import Source, Where

_DIGEST_BYTES = 16


class Order(Struct, frozen=True, kw_only=True):
    """What is to be loaded, and how.

    Attributes:
        where: what is read.
        mapping: how its rows become commands.
        account: of Klaviyo.
        bulk: into the low-priority lanes.
        timeout: most seconds to wait in one go for a Redis that is away or full; None for ever.
        max_refused: more refused rows than that end the load; None for no limit.
        restart: forget the checkpoint.
        checkpoint, rejects: their files; None for the default beside the file, if it is one.
        with_rows: write refused rows into the reject file, too.
    """

    where: Where
    mapping: Mapping
    account: str
    bulk: bool = True
    timeout: float | None = None
    max_refused: int | None = None
    restart: bool = False
    checkpoint: Path | None = None
    rejects: Path | None = None
    with_rows: bool = False

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint of a file is."""
        return self.checkpoint or Path(f"{self.where.target}.checkpoint")

    @property
    def rejects_path(self) -> Path:
        """Where refused rows are told of."""
        return self.rejects or self._beside("rejects.ndjson")

    def _beside(self, ending: str) -> Path:
        path = Path(self.where.target)
        has_name = not self.where.is_database and path.is_file()
        return Path(f"{path}.{ending}") if has_name else Path(f"load.{ending}")

    def source_of(self, content: str) -> str:
        """The load's digest: of what is read and how, the mapping, the account, the lanes' kind."""
        told = f"{content} {self.where.reading} {self.mapping.digest} {self.account} {self.bulk}"
        return blake2b(told.encode(), digest_size=_DIGEST_BYTES).hexdigest()

    def check_places(self, source: Source) -> None:
        """Look that what is written is not what is read.

        Raises:
            UsageFaultsError: it is, or nothing is written of such a source.
        """
        faults = [*self._faults_of_places(source)]
        if faults:
            raise UsageFaultsError(faults)

    def _faults_of_places(self, source: Source) -> Iterator[str]:
        for flag, path in (("--rejects", self.rejects), ("--checkpoint", self.checkpoint)):
            if path is not None and source.is_at(path):
                yield f"{flag} {path} is the file that is to be loaded: name another one"
        if source.file is None and self.checkpoint is not None:
            yield "--checkpoint is for files: --source makes a stream or query resumable"
        if source.file is None and self.restart:
            yield "--restart is for files: a stream or query begins anew under another --source"

    def maker_of(self, source: Source) -> Maker:
        """What makes the commands.

        Raises:
            UsageFaultsError: mapping and columns do not fit together.
        """
        numbers = numbered(self.source_of(source.content))
        # By the content alone: events that were loaded under another mapping are the same events.
        unique = numbered(source.content)
        if self.mapping.kind is None:
            live = self._live_without_mapping(source)
            return ReadyMaker(unique, numbers, self.account, bulk=self.bulk, live=live)
        reader = source.reader
        roles = roles_of(self.mapping, self.mapping.kind, reader.columns)
        assemble = assembler(roles, reader.columns, is_text=reader.is_text)
        if roles.key is not None:
            key_of = key_reader(roles.key, reader.columns)
            scope = f"{self.account} {self.mapping.verb} {roles.constants.get('metric', '')}"
            unique, numbers = by_key(key_of), keyed(key_of, scope)
        return MappedMaker(roles.kind, assemble, unique, numbers, self.account, bulk=self.bulk)

    def _live_without_mapping(self, source: Source) -> bool:
        if source.reader.columns is not None:
            raise UsageFaultsError(["say with --as what each row is, such as --as track"])
        if self.mapping != Mapping(live=self.mapping.live):
            raise UsageFaultsError(
                ["without --as each row is a command already; columns need --as VERB"]
            )
        return self.mapping.live
