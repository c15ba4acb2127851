"""Keeps pages and the cursor where a read goes on."""

__all__ = ["load_cursor", "store"]

cursors: list[str | None] = [None]


def load_cursor() -> str | None:
    """Where to go on."""
    return cursors[-1]


def store(_page: object, cursor: str | None) -> None:
    """In one transaction, if this were a database."""
    cursors.append(cursor)
