"""The shape of the two packages: bars that keep each module one idea and each function short.

The bars are what the projects that read well keep to, or nearly. Nothing is exempt.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

import klaviyo_relay
import klaviyo_relay_worker

MODULE_LINES_MOST = 400
MODULE_LINES_MEDIAN_MOST = 150
FUNCTION_LINES_MEDIAN_MOST = 8
COMPLEXITY_MOST = 10
# Names that say nothing of what is inside.
NAMELESS = {"common", "helper", "helpers", "misc", "shared", "util", "utils"}

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
_BRANCHES = (
    ast.Assert,
    ast.AsyncFor,
    ast.ExceptHandler,
    ast.For,
    ast.If,
    ast.IfExp,
    ast.While,
    ast.match_case,
)
_WITH_ELSE = (ast.AsyncFor, ast.For, ast.Try, ast.TryStar, ast.While)
Function = ast.FunctionDef | ast.AsyncFunctionDef
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class Module:
    """A module and its lines of code: none that is blank, a comment or a docstring."""

    def __init__(self, path: Path, root: Path) -> None:
        self.name = str(path.relative_to(root.parent))
        source = path.read_text()
        self.tree = ast.parse(source)
        self.lines = set(_code_lines(source)) - set(_docstring_lines(self.tree))

    def functions(self) -> Iterator[tuple[str, Function]]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield f"{self.name}:{node.lineno} {node.name}", node

    def length(self, function: Function) -> int:
        """Its lines of code; the heading and what is defined inside count."""
        last = function.end_lineno or function.lineno
        return len(self.lines & set(range(function.lineno, last + 1)))


def _code_lines(source: str) -> Iterator[int]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            yield from range(token.start[0], token.end[0] + 1)


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            yield from range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1)


def complexity(function: Function) -> int:
    """Ways through it, as radon counts them: within `and`, comprehensions and ternaries, too."""
    return 1 + sum(map(_ways, ast.walk(function)))


def _ways(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    has_else = isinstance(node, _WITH_ELSE) and bool(node.orelse)
    return isinstance(node, _BRANCHES) + has_else


def over(most: int, found: dict[str, int]) -> list[str]:
    """What is above a bar, the worst first."""
    return [f"{n} {name}" for name, n in sorted(found.items(), key=lambda x: -x[1]) if n > most]


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    roots = [Path(package.__file__).parent for package in (klaviyo_relay, klaviyo_relay_worker)]
    return [Module(path, root) for root in roots for path in sorted(root.rglob("*.py"))]


def test_no_module_has_more_than_400_lines_of_code(modules: list[Module]) -> None:
    lengths = {module.name: len(module.lines) for module in modules}

    assert over(MODULE_LINES_MOST, lengths) == []


def test_half_of_the_modules_have_at_most_150_lines_of_code(modules: list[Module]) -> None:
    assert median(len(module.lines) for module in modules) <= MODULE_LINES_MEDIAN_MOST


def test_half_of_the_functions_have_at_most_8_lines_of_code(modules: list[Module]) -> None:
    lengths = [module.length(node) for module in modules for _, node in module.functions()]

    assert len(lengths) > 1_000
    assert median(lengths) <= FUNCTION_LINES_MEDIAN_MOST


def test_no_function_has_more_than_10_ways_through_it(modules: list[Module]) -> None:
    found = {name: complexity(node) for module in modules for name, node in module.functions()}

    assert over(COMPLEXITY_MOST, found) == []


def test_each_module_has_a_name_that_says_what_is_inside(modules: list[Module]) -> None:
    words = {module.name: set(Path(module.name).with_suffix("").parts) for module in modules}

    assert [name for name, parts in words.items() if parts & NAMELESS] == []
