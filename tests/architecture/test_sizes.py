"""How much stands in one place: modules and functions that a reader can hold in their head."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
APPS: Final = ("scheduler_app", "agents_app", "errors_app", "executions_app", "config")
MOST_LINES_OF_A_MODULE: Final = 300
MOST_LINES_OF_A_BODY: Final = 30
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> Iterator[Path]:
    for app in APPS:
        yield from (path for path in (ROOT / app).rglob("*.py") if "migrations" not in path.parts)


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def lines_of_the_body(function: Function) -> int:
    """From the first statement to the last; neither signature nor docstring counts."""
    statements = function.body[1:] if ast.get_docstring(function) else function.body
    if not statements:
        return 0
    last = statements[-1].end_lineno
    assert last is not None
    return last - statements[0].lineno + 1


def test_no_module_has_more_than_300_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in modules()}

    too_long = {
        str(path.relative_to(ROOT)): length
        for path, length in lengths.items()
        if length > MOST_LINES_OF_A_MODULE
    }
    assert len(lengths) > 200
    assert too_long == {}


def test_no_function_has_a_body_of_more_than_30_lines() -> None:
    too_long = {
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}": lines_of_the_body(function)
        for path in modules()
        for function in functions(path)
        if lines_of_the_body(function) > MOST_LINES_OF_A_BODY
    }

    assert too_long == {}


def test_only_what_a_function_does_is_counted() -> None:
    source = (
        'def f(\n    one,\n):\n    """Says.\n\n    More.\n    """\n    a = (\n        1\n    )\n'
    )
    (function,) = ast.parse(source).body
    assert isinstance(function, Function)

    assert lines_of_the_body(function) == 3
