"""The fault suite says what it does, and its table of defences fits the product as it is."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from urllib.parse import urlsplit

import psycopg
import pytest
from _pytest._code.code import ExceptionChainRepr, ReprFileLocation, ReprTraceback

from tests.faults import sampling
from tests.faults.defence import Defence
from tests.faults.defences import DEFENCES
from tests.faults.recording import FOLDER as SUITE
from tests.faults.recording import PROPERTY, Line, Suite, report
from tests.faults.sampling import Watch
from tests.faults.undefended import UNDEFENDED
from tests.plugin import shares_with

CHECKOUT = Path(__file__).resolve().parent.parent.parent
FOLDER = CHECKOUT / "tests" / "faults"
GUIDE = CHECKOUT / "docs" / "operations" / "faults.md"
MODULES = sorted(FOLDER.glob("test_*.py"))


def names_in(module: Path) -> set[str]:
    tree = ast.parse(module.read_text())
    found = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
    return {name for name in found if name.startswith("test_")}


def whole_suite() -> set[str]:
    return {f"{module.name}::{name}" for module in MODULES for name in names_in(module)}


def defended() -> set[str]:
    return {one.test.partition("[")[0] for one in DEFENCES if not one.is_elsewhere}


@pytest.mark.parametrize("module", MODULES, ids=lambda one: one.stem)
def test_every_module_of_the_fault_suite_is_in_its_guide(module: Path) -> None:
    assert f"`{module.stem}`" in GUIDE.read_text()


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda one: one.name)
def test_every_defence_stands_where_the_table_says_and_has_its_test(defence: Defence) -> None:
    module, _, test = defence.path.partition("::")

    assert (CHECKOUT / defence.file).read_text().count(defence.text) == 1
    assert defence.text != defence.instead
    assert test.partition("[")[0] in names_in(CHECKOUT / module)


def test_every_fault_test_has_a_defence_or_a_reason_why_it_has_none() -> None:
    assert whole_suite() - defended() - set(UNDEFENDED) == set()


def test_who_has_a_reason_to_have_no_defence_is_there_and_has_none() -> None:
    assert set(UNDEFENDED) <= whole_suite() - defended()
    assert [test for test, why in UNDEFENDED.items() if not why.endswith(".")] == []


def test_every_module_of_the_fault_suite_has_a_defence() -> None:
    with_one = {test.partition("::")[0] for test in defended()}

    assert with_one == {one.name for one in MODULES}


def test_no_two_defences_have_one_name() -> None:
    assert len({one.name for one in DEFENCES}) == len(DEFENCES)


def test_at_least_ten_defences_are_proved_without_being_asked_for() -> None:
    assert len([one for one in DEFENCES if not one.slow]) >= 10


def test_a_line_says_the_test_its_seed_the_faults_the_executions_and_the_violations() -> None:
    line = Line("test_x::test_y", 7, {"killed": 2, "died": 1}, 40, 0)

    assert line.words() == (
        "test_x::test_y: seed 7, 3 faults (died 1, killed 2), 40 executions checked, 0 violations"
    )


def test_the_report_adds_up_what_its_lines_say() -> None:
    lines = [
        Line("test_x::test_y", 7, {"killed": 2}, 40, 0),
        Line("test_x::test_y", 8, {"killed": 1}, 1, 1),
    ]

    text = report(lines)

    assert "| seeds | 7, 8 |" in text
    assert "| result | 2 tests, 3 faults injected, 41 executions checked, 1 violation |" in text
    assert "| test_x::test_y | 8 | 1 fault (killed 1) | 1 | 1 |" in text


@pytest.mark.parametrize(
    ("option", "exit_code"),
    [
        ({}, pytest.ExitCode.OK),
        ({}, pytest.ExitCode.TESTS_FAILED),
        ({}, pytest.ExitCode.INTERRUPTED),
        ({"keyword": "redis"}, pytest.ExitCode.OK),
        ({"markexpr": "fault and not long"}, pytest.ExitCode.OK),
        ({"deselect": ["test_x.py"]}, pytest.ExitCode.OK),
        ({"maxfail": 1}, pytest.ExitCode.TESTS_FAILED),
        ({"lf": True}, pytest.ExitCode.OK),
        ({"stepwise": True}, pytest.ExitCode.OK),
        ({"ignore": ["test_x.py"]}, pytest.ExitCode.OK),
        ({"ignore_glob": ["test_*s.py"]}, pytest.ExitCode.OK),
        ({"collectonly": True}, pytest.ExitCode.OK),
    ],
)
def test_only_a_whole_suite_that_came_to_its_end_writes_its_report(
    tmp_path: Path, option: dict[str, object], exit_code: pytest.ExitCode
) -> None:
    """Several workers do not tell what they left out."""
    said: list[str] = []
    path = tmp_path / "report.md"
    chosen = {"keyword": "", "markexpr": "fault", "deselect": None, "maxfail": 0, **option}
    told = {"fault_report": str(path)}
    config: Any = SimpleNamespace(
        option=SimpleNamespace(**chosen), args=[SUITE], getoption=told.get
    )

    terminal = SimpleNamespace(write_line=said.append)
    Suite(config).pytest_terminal_summary(terminal, exitstatus=exit_code)

    is_whole = not option and exit_code is not pytest.ExitCode.INTERRUPTED
    assert path.exists() == is_whole
    assert said[0].startswith("The report" if is_whole else "A part")


def phase(when: Literal["setup", "call", "teardown"], **words: Any) -> pytest.TestReport:
    name = "test_x.py::test_z"
    said = {"outcome": "passed", "longrepr": None, **words}
    return pytest.TestReport(f"{SUITE}/{name}", (SUITE, 1, name), {}, when=when, **said)


def test_a_test_that_skips_in_what_it_needs_has_no_faults_and_no_checks(
    pytestconfig: pytest.Config,
) -> None:
    suite = Suite(pytestconfig)
    book = {"seed": 7, "faults": {}, "executions": 0, "violations": 0}

    why = ("test_x.py", 3, "Skipped: needs root")
    suite.pytest_runtest_logreport(phase("setup", outcome="skipped", longrepr=why))
    suite.pytest_runtest_logreport(phase("teardown", user_properties=[(PROPERTY, book)]))

    assert suite.lines == [Line("test_x::test_z", 7, {}, 0, 0, skipped="needs root")]


def test_a_violation_is_told_with_what_failed_as_soon_as_the_test_is_over() -> None:
    said: list[str] = []
    terminal = SimpleNamespace(ensure_newline=lambda: None, write_line=said.append)
    plugins = SimpleNamespace(getplugin={"terminalreporter": terminal}.get)
    config: Any = SimpleNamespace(pluginmanager=plugins)
    suite = Suite(config)
    book = {"seed": 7, "faults": {}, "executions": 3, "violations": 0}
    where = ReprFileLocation("/x/test_x.py", 9, "AssertionError: 6.4 s are too long")

    crash = ExceptionChainRepr([(ReprTraceback([], None, "long"), where, None)])
    suite.pytest_runtest_logreport(phase("call", outcome="failed", longrepr=crash))
    suite.pytest_runtest_logreport(phase("teardown", user_properties=[(PROPERTY, book)]))

    assert said == [
        "test_x::test_z: seed 7, 0 faults, 3 executions checked, 1 violation",
        "    /x/test_x.py:9",
        "    AssertionError: 6.4 s are too long",
    ]


def test_of_several_workers_one_runs_all_tests_of_a_module_with_one_seed() -> None:
    ids = ("test_y[seed 7-once]", "test_z[seed 7]", "test_z[45 days ahead-seed 7]")
    tests = [f"{SUITE}/test_x.py::{one}" for one in ids]

    assert {shares_with(test) for test in tests} == {f"{SUITE}/test_x.py, seed 7"}
    assert shares_with(tests[0].replace("7", "8")) == f"{SUITE}/test_x.py, seed 8"
    assert shares_with(f"{SUITE}/test_x.py::test_y[once]") == f"{SUITE}/test_x.py"


def test_a_test_that_was_skipped_says_so_and_counts_as_none() -> None:
    ran = Line("test_x::test_y", 7, {"killed": 2}, 40, 0)
    skipped = Line("test_x::test_z", 7, {}, 0, 0, skipped="needs root")

    text = report([ran, skipped])

    assert skipped.words() == "test_x::test_z: seed 7, skipped: needs root"
    assert "| test_x::test_z | 7 | skipped: needs root |  |  |" in text
    counted = "1 test, 2 faults injected, 40 executions checked, 0 violations, 1 skipped"
    assert f"| result | {counted} |" in text


@pytest.mark.parametrize(("is_disturbed", "told"), [(False, 1), (True, 0)])
def test_a_transaction_that_is_held_open_is_seen_unless_its_process_is_paused(
    monkeypatch: pytest.MonkeyPatch, is_disturbed: bool, told: int
) -> None:
    monkeypatch.setattr(sampling, "MOST_LOOKS", 2)
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path="/postgres").geturl()

    with psycopg.connect(url, application_name="cadenza-worker") as holding:
        holding.execute("SELECT 'over a call'")
        watch = Watch(url, is_disturbed=lambda: is_disturbed)
        ends = time.monotonic() + 30
        while len(watch.longest_waits) < 10 and time.monotonic() < ends:
            time.sleep(sampling.LOOK_SECONDS)
        watch.end()

    assert len(watch.held_open()) == told
    assert all("over a call" in one for one in watch.held_open())
    assert watch.share_of_waits(0.1) == 0.0
