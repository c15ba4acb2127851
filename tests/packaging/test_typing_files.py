"""What the type checkers are given in tests/typing leaves no public name out."""

from __future__ import annotations

import ast
from pathlib import Path

import klaviyo_relay
import klaviyo_relay_worker
from klaviyo_relay_worker import klaviyo, sandbox

TYPING = Path(__file__).parents[1] / "typing"
# For the reads beside it, not for users.
INTERNAL = {"id_given"}


def names_used(file: str) -> set[str]:
    """Names that are called, read or listed below the imports."""
    tree = ast.parse((TYPING / file).read_text())
    nodes = [node for statement in tree.body for node in ast.walk(statement)]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in nodes if isinstance(node, ast.Name)}


def test_each_public_name_of_the_producer_is_used() -> None:
    assert set(klaviyo_relay.__all__) - names_used("api.py") == set()


def test_each_public_name_of_the_worker_is_used() -> None:
    public = {*klaviyo_relay_worker.__all__, *klaviyo.__all__, *sandbox.__all__}

    assert public - names_used("worker.py") == set()


def test_each_kind_of_read_is_used() -> None:
    with klaviyo.Reader.from_env(environ={"KLAVIYO_API_KEY": "pk_test"}) as reader:
        groups = [name for name in vars(reader) if not name.startswith("_")]
        reads = {
            name
            for group in groups
            for name in dir(getattr(reader, group))
            if not name.startswith("_")
        }

    assert {*groups, *reads} - INTERNAL - names_used("worker.py") == set()
