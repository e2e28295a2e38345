"""Nothing of the product stands in for what it should do: no fakes, mocks or placeholders."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = ("scheduler_app", "agents_app", "errors_app", "executions_app", "config")
STAND_INS = ("tests", "unittest", "pytest", "responses", "respx", "faker", "factory")
MODULES = sorted(
    path.relative_to(ROOT).as_posix() for app in APPS for path in (ROOT / app).rglob("*.py")
)


def imported(source: str) -> set[str]:
    """The packages that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {one.name.partition(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def test_the_look_finds_what_it_looks_for() -> None:
    assert imported("from tests.fakes import a\nimport unittest.mock") == {"tests", "unittest"}
    assert len(MODULES) > 100


@pytest.mark.parametrize("app", APPS)
def test_the_product_imports_nothing_that_stands_in_for_something_real(app: str) -> None:
    found = {
        name: imported((ROOT / name).read_text()) & set(STAND_INS)
        for name in MODULES
        if name.startswith(f"{app}/")
    }

    assert {name: packages for name, packages in found.items() if packages} == {}


@pytest.mark.parametrize("word", ["NotImplementedError", "TODO", "FIXME", "placeholder_"])
def test_no_handler_is_left_for_later(word: str) -> None:
    handlers = [name for name in MODULES if name.startswith("agents_app/")]

    assert [name for name in handlers if word in (ROOT / name).read_text()] == []
