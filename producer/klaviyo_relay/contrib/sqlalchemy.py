"""The outbox for SQLAlchemy: commands in the session's or connection's own transaction.

    from klaviyo_relay.contrib import sqlalchemy as outbox

    with Session(engine) as session, session.begin():
        session.add(order)
        outbox.track(session, "Placed Order", email=order.email, value=order.total)

The transaction commits, and the command will be delivered; it rolls back, and there never was one.
An `AsyncSession` calls the verbs by `await session.run_sync(outbox.track, "Placed Order", …)`.

`metadata` holds the two tables: hand it to Alembic beside your own (`target_metadata` may be a
list), or call `create_tables`. `OutboxShipper(SqlAlchemyStore(engine))` or `python -m
klaviyo_relay.outbox` ships what is committed. See docs/outbox.md.

Needs SQLAlchemy 2. Tested with SQLite and PostgreSQL (psycopg 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.orm import Session, scoped_session

from klaviyo_relay.errors import LeaseLostError
from klaviyo_relay.outbox.producer import OutboxProducer, OutboxRow
from klaviyo_relay.outbox.store import (
    HOLDER_MAX_CHARACTERS,
    LANE_MAX_CHARACTERS,
    STATE_ID,
    STATE_TABLE,
    TABLE,
    State,
    new_source,
)
from klaviyo_relay.validation import COMMAND_MAX_BYTES
from klaviyo_relay.verbs import Verbs

if TYPE_CHECKING:
    Target = Session | scoped_session[Session] | Connection

__all__ = [
    "SqlAlchemyStore",
    "add_to_list",
    "create_list",
    "create_tables",
    "delete_list",
    "delete_profile",
    "enqueue",
    "enqueue_many",
    "identify",
    "metadata",
    "on",
    "remove_from_list",
    "rename_list",
    "subscribe",
    "suppress",
    "track",
    "track_once",
    "unsubscribe",
    "unsuppress",
]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

metadata = MetaData()

# SQLite counts only INTEGER PRIMARY KEY columns by itself.
_Id = BigInteger().with_variant(Integer(), "sqlite")
_rows = Table(
    TABLE,
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("number", BigInteger),
    Column("lane", String(LANE_MAX_CHARACTERS), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("command_id", String(36), nullable=False),
    # The length makes MySQL choose a type that holds so much.
    Column("message", LargeBinary(COMMAND_MAX_BYTES + 1_000), nullable=False),
    UniqueConstraint("lane", "number", name=f"{TABLE}_number"),
    sqlite_autoincrement=True,
)
_is_new = _rows.c.number.is_(None)
Index(f"{TABLE}_new", _rows.c.id, sqlite_where=_is_new, postgresql_where=_is_new)
_state = Table(
    STATE_TABLE,
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("source", String(32), nullable=False),
    Column("holder", String(HOLDER_MAX_CHARACTERS)),
    Column("beat", BigInteger, nullable=False),
    Column("last_number", BigInteger, nullable=False),
)
_the_state = _state.c.id == STATE_ID
_give_number = (
    update(_rows).where(_rows.c.id == bindparam("row_id")).values(number=bindparam("given_number"))
)


def create_tables(engine: Engine) -> None:
    """Create the two tables where they are missing."""
    metadata.create_all(engine)


def on(target: Target) -> OutboxProducer:
    """All verbs, bound to a session or connection: `on(session).track("Placed Order", …)`.

    Raises:
        TypeError: `target` is neither; an AsyncSession, for instance.
    """
    if not isinstance(target, (Session, scoped_session, Connection)):
        raise TypeError(
            f"needs a Session, scoped_session or Connection, not {type(target).__name__};"
            " with an AsyncSession: await session.run_sync(outbox.track, …)"
        )

    def write(rows: Sequence[OutboxRow]) -> None:
        try:
            target.execute(insert(_rows), [row._asdict() for row in rows])
        except StatementError as error:
            error.hide_parameters = True  # they are somebody's email address and what they bought
            raise

    return OutboxProducer(write)


def _verb(
    verb: Callable[Concatenate[OutboxProducer, Parameters], Result],
) -> Callable[Concatenate[Target, Parameters], Result]:
    """A verb that takes the session or connection first."""

    def call(target: Target, /, *arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        return verb(on(target), *arguments, **named)

    call.__name__ = call.__qualname__ = verb.__name__
    call.__doc__ = verb.__doc__
    return call


track = _verb(Verbs.track)


def track_once(target: Target, /, metric: str, **arguments: Any) -> str:
    """As `track`, but Klaviyo keeps only the first event of this metric for each profile."""
    return on(target).track_once(metric, **arguments)


identify = _verb(Verbs.identify)
add_to_list = _verb(Verbs.add_to_list)
remove_from_list = _verb(Verbs.remove_from_list)
create_list = _verb(Verbs.create_list)
rename_list = _verb(Verbs.rename_list)
delete_list = _verb(Verbs.delete_list)
subscribe = _verb(Verbs.subscribe)
unsubscribe = _verb(Verbs.unsubscribe)
suppress = _verb(Verbs.suppress)
unsuppress = _verb(Verbs.unsuppress)
delete_profile = _verb(Verbs.delete_profile)
enqueue = _verb(Verbs.enqueue)
enqueue_many = _verb(OutboxProducer.enqueue_many)


class SqlAlchemyStore:
    """The relay's side of the tables; see `klaviyo_relay.outbox.store.OutboxStore`.

    Args:
        engine: of the database with the two tables; its pool lends one connection at a time.

    Raises:
        TypeError: an AsyncEngine was given.
    """

    errors: tuple[type[Exception], ...] = (SQLAlchemyError,)

    def __init__(self, engine: Engine) -> None:
        if not isinstance(engine, Engine):
            raise TypeError(f"needs an Engine made by create_engine, not {type(engine).__name__}")
        # Whatever the application's own level is. Each numbering must see what was committed
        # before it got the lock, so no snapshot may be older; SQLite has only one writer anyway.
        level = "SERIALIZABLE" if engine.dialect.name == "sqlite" else "READ COMMITTED"
        self._engine = engine.execution_options(isolation_level=level)

    def state(self) -> State:
        """The state row, which the first call makes."""
        found = self._find_state()
        if found is None:
            self._make_state()
            found = self._find_state()
        if found is None:
            raise LeaseLostError("the state row was deleted a moment ago")
        return found

    def take(self, holder: str, beat: int) -> bool:
        """Make `holder` the relay, unless the row's beat is not `beat` any more."""
        change = update(_state).where(_the_state, _state.c.beat == beat)
        with self._engine.begin() as connection:
            taken = connection.execute(change.values(holder=holder, beat=beat + 1))
            return taken.rowcount == 1

    def renew(self, holder: str) -> None:
        """Raise the beat; LeaseLostError where somebody else is the relay."""
        with self._engine.begin() as connection:
            _beat(connection, holder)

    def release(self, holder: str) -> None:
        """Let the next relay take over at once, if `holder` is the relay."""
        change = update(_state).where(_the_state, _state.c.holder == holder)
        with self._engine.begin() as connection:
            connection.execute(change.values(holder=None, beat=_state.c.beat + 1))

    def has_new(self) -> bool:
        """Whether there are committed rows without a number."""
        with self._engine.connect() as connection:
            return (
                connection.execute(select(_rows.c.id).where(_is_new).limit(1)).first() is not None
            )

    def number_rows(self, holder: str, limit: int, above: int) -> dict[str, int]:
        """Give numbers to up to `limit` committed rows; see `OutboxStore.number_rows`."""
        new = select(_rows.c.id, _rows.c.lane).where(_is_new).order_by(_rows.c.id).limit(limit)
        with self._engine.begin() as connection:
            # First of all, for its lock: the rows below are those committed before it was had.
            _beat(connection, holder)
            last = connection.execute(select(_state.c.last_number).where(_the_state)).scalar_one()
            found = list(enumerate(connection.execute(new), max(last, above) + 1))
            if not found:
                return {}
            connection.execute(
                _give_number,
                [{"row_id": row.id, "given_number": number} for number, row in found],
            )
            connection.execute(update(_state).where(_the_state).values(last_number=found[-1][0]))
            return {row.lane: number for number, row in found}

    def newest(self) -> dict[str, int]:
        """Each lane that has numbered rows, with its highest number."""
        query = (
            select(_rows.c.lane, func.max(_rows.c.number))
            .where(_rows.c.number.is_not(None))
            .group_by(_rows.c.lane)
        )
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def read(self, lane: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to `limit` pairs of number and message of a lane, above `after`, in rising order."""
        query = (
            select(_rows.c.number, _rows.c.message)
            .where(and_(_rows.c.lane == lane, _rows.c.number > after))
            .order_by(_rows.c.number)
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [(number, bytes(message)) for number, message in connection.execute(query)]

    def delete(self, lane: str, upto: int) -> None:
        """Delete a lane's rows with numbers up to `upto`."""
        with self._engine.begin() as connection:
            connection.execute(delete(_rows).where(_rows.c.lane == lane, _rows.c.number <= upto))

    def close(self) -> None:
        """Nothing: the engine is the application's."""

    def _find_state(self) -> State | None:
        with self._engine.connect() as connection:
            row = connection.execute(
                select(_state.c.source, _state.c.holder, _state.c.beat, _state.c.last_number).where(
                    _the_state
                )
            ).first()
            return None if row is None else State(*row)

    def _make_state(self) -> None:
        row = {"id": STATE_ID, "source": new_source(), "beat": 0, "last_number": 0}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(_state).values(row))
        except IntegrityError:
            return  # another relay was faster


def _beat(connection: Connection, holder: str) -> None:
    change = update(_state).where(_the_state, _state.c.holder == holder)
    if connection.execute(change.values(beat=_state.c.beat + 1)).rowcount != 1:
        raise LeaseLostError
