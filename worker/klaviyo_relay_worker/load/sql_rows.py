"""Rows of a query; needs the extra [sql]."""

from __future__ import annotations

import re
from typing import Any

from klaviyo_relay_worker.load.checkpoint import Position
from klaviyo_relay_worker.load.errors import LoadError, UsageFaultsError
from klaviyo_relay_worker.load.rows import Row

# With drivers that can, the server keeps the result and hands out so many rows at a time.
_OPTIONS = {"stream_results": True, "yield_per": 1_000, "no_parameters": True}
_ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)


class SqlRows:
    """Reads the rows of a query as the database hands them out; see `Reader`."""

    is_text = False
    share = None

    def __init__(self, url: str, query: str) -> None:
        """Run the query.

        Raises:
            UsageFaultsError: SQLAlchemy or the database's driver is missing, the URL is none, or
                the query has no rows to give.
            LoadError: the database refused.
        """
        try:
            import sqlalchemy
        except ImportError:
            raise UsageFaultsError(
                ['a database needs SQLAlchemy: pip install "klaviyo-relay[worker,sql]"']
            ) from None
        self._refusals = sqlalchemy.exc.SQLAlchemyError
        self._engine = _engine_of(sqlalchemy, url)
        try:
            self._connection = self._engine.connect()
            # As it is: no colon and no percent sign in it is a parameter's place.
            self._result: Any = self._connection.execution_options(**_OPTIONS).exec_driver_sql(
                query
            )
        except self._refusals as error:
            self._engine.dispose()
            raise LoadError(f"the database refused the query: {_said(error)}") from None
        if not self._result.returns_rows:
            self.close()
            raise UsageFaultsError(["--query must be a SELECT: this one gives no rows"])
        self.columns: tuple[str, ...] = tuple(self._result.keys())
        self._row = 0

    @property
    def position(self) -> Position:
        """The place behind the last chunk; rows count as lines."""
        return Position(0, self._row, self._row)

    def seek(self, position: Position) -> None:
        """Not possible: no checkpoint is written of a query."""
        raise NotImplementedError

    def read(self, most: int) -> list[Row]:
        """The next rows."""
        try:
            found = self._result.fetchmany(most)
        except self._refusals as error:
            raise LoadError(f"the database failed behind row {self._row}: {_said(error)}") from None
        first = self._row + 1
        self._row += len(found)
        return list(enumerate(map(tuple, found), first))

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()
        self._engine.dispose()


def is_ordered(query: str) -> bool:
    """Whether a query says in which order its rows come."""
    return _ORDERED.search(query) is not None


def _engine_of(sqlalchemy: Any, url: str) -> Any:
    try:
        return sqlalchemy.create_engine(url)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise UsageFaultsError([f"this is no database URL: {type(error).__name__}"]) from None
    except ImportError as error:
        raise UsageFaultsError(
            [f"the database's driver is missing ({error}); pip install it"]
        ) from None


def _said(error: Any) -> str:
    """The driver's own words: the statement around them may hold private data."""
    return str(getattr(error, "orig", None) or type(error).__name__)
