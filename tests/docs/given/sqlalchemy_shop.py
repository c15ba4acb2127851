"""A database with one table, and an order that is about to be placed."""

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from klaviyo_relay.contrib import sqlalchemy as outbox

__all__ = ["Session", "engine", "order"]


class Base(DeclarativeBase):
    """Of all tables."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    total: Mapped[float]


engine = create_engine("sqlite:///shop.sqlite3")
Base.metadata.create_all(engine)
outbox.create_tables(engine)
order = Order(email="ada@lovelace.dev", total=23.99)
