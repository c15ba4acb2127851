"""A listener of one's own."""


def my_listener(event: object) -> None:
    """Hear of it."""
