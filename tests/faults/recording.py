"""The options, the lines and the report of the fault suite; a plugin of pytest.

`--seed N` draws everything random anew, `--repeat N` runs all tests N times, each time with a seed
of its own, `--fault-report FILE` writes down how the whole suite went. Knows nothing of Django: it
is loaded before the settings are.
"""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks import machine

SEED: Final = 20_261_121
FOLDER: Final = "tests/faults"
CHECKOUT: Final = Path(__file__).resolve().parent.parent.parent
PROPERTY: Final = "fault"
MARK: Final = "fault"
CHOOSING: Final = (  # options that leave tests out
    "keyword", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly", "maxfail"
)  # fmt: skip
WHOLE: Final = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)  # not one that was broken off
MOST_TOLD: Final = 20  # lines of a failure; pytest tells the whole at the end


def pytest_addoption(parser: pytest.Parser) -> None:
    """Make the options of the suite known."""
    group = parser.getgroup("fault suite")
    group.addoption("--seed", type=int, default=SEED, help="of everything random in fault tests")
    group.addoption("--repeat", type=int, default=1, help="so often, each time with another seed")
    group.addoption("--fault-report", metavar="FILE", help="where to write down how it went")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every fault test once for each seed; all of one seed before the first of the next."""
    seeds = _seeds(metafunc.config)
    if len(seeds) > 1 and "seed" in metafunc.fixturenames:
        ids = [f"seed {one}" for one in seeds]
        metafunc.parametrize("seed", seeds, indirect=True, ids=ids, scope="session")


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """What everything random of this repetition is drawn from."""
    return int(getattr(request, "param", request.config.getoption("seed")))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the lines of this session, and let several workers leave repetitions in their order."""
    config.pluginmanager.register(Suite(config), "fault-suite")
    if len(_seeds(config)) > 1:
        config.option.loadscopereorder = False


def _seeds(config: pytest.Config) -> list[int]:
    first, times = config.getoption("seed"), config.getoption("repeat")
    return [first + number for number in range(times)]


@dataclass(frozen=True, slots=True)
class Line:
    """How one test went, or why it did not run."""

    test: str
    seed: int
    faults: dict[str, int]
    executions: int
    violations: int
    skipped: str = ""

    def words(self) -> str:
        if self.skipped:
            return f"{self.test}: seed {self.seed}, skipped: {self.skipped}"
        return (
            f"{self.test}: seed {self.seed}, {self.told_faults()}, "
            f"{_counted(self.executions, 'execution')} checked, "
            f"{_counted(self.violations, 'violation')}"
        )

    def told_faults(self) -> str:
        """How many faults were injected, and which."""
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return _counted(sum(self.faults.values()), "fault") + (f" ({kinds})" if kinds else "")


def _counted(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


@dataclass(eq=False)  # pytest keeps plugins in sets
class Suite:
    """All lines of a session, and what of the suite was left out of it."""

    config: pytest.Config
    lines: list[Line] = field(default_factory=list)
    left_out: int = 0
    _failed: dict[str, list[str]] = field(default_factory=dict)
    _skipped: dict[str, str] = field(default_factory=dict)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Remember that the suite is not whole."""
        self.left_out += sum(FOLDER in item.nodeid for item in items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Say the line of a fault test once it is over, and of what it failed: not hours later."""
        if report.failed:
            self._failed.setdefault(report.nodeid, []).extend(_failure(report))
        if report.skipped:
            self._skipped[report.nodeid] = _reason(report)
        told: dict[str, Any] = dict(report.user_properties)
        if report.when != "teardown" or PROPERTY not in told:
            return
        book = dict(told[PROPERTY])
        violations = book.pop("violations")
        if report.nodeid in self._failed:
            violations = max(1, violations)
        name = report.nodeid.removeprefix(f"{FOLDER}/").replace(".py::", "::")
        skipped = self._skipped.get(report.nodeid, "")
        self.lines.append(Line(test=name, violations=violations, skipped=skipped, **book))
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            for line in (self.lines[-1].words(), *self._failed.get(report.nodeid, ())):
                reporter.write_line(line)

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        """Write the report of a whole suite; a part of it writes none."""
        path = self.config.getoption("fault_report")
        if not path:
            return
        if self._is_a_part() or exitstatus not in WHOLE:
            terminalreporter.write_line("A part of the fault suite: no report is written.")
        else:
            Path(path).write_text(report(self.lines))
            terminalreporter.write_line(f"The report of the fault suite is in {path}.")

    def _is_a_part(self) -> bool:
        """Several workers do not tell what they leave out; the options that make them do it."""
        told = vars(self.config.option)
        is_chosen = any(told.get(option) for option in CHOOSING)
        others = [one for one in self.config.args if not one.endswith(FOLDER)]
        return bool(self.left_out or is_chosen or others) or told["markexpr"] != MARK


def _failure(failed: pytest.TestReport) -> list[str]:
    """What failed, in a few lines: the message of the exception and where it was raised."""
    crash = getattr(failed.longrepr, "reprcrash", None)
    message = str(failed.longrepr) if crash is None else crash.message
    where = [] if crash is None else [f"    {crash.path}:{crash.lineno}"]
    return [*where, *(f"    {line}" for line in message.splitlines()[:MOST_TOLD])]


def _reason(skipped: pytest.TestReport) -> str:
    """What the test said when it was skipped."""
    said = skipped.longrepr
    words = said[2] if isinstance(said, tuple) else str(said)
    return words.removeprefix("Skipped: ")


def report(lines: Sequence[Line]) -> str:
    """The document: the same lines on the same machine and commit give the same text."""
    about = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        **_machine(),
        "seeds": ", ".join(str(one) for one in sorted({line.seed for line in lines})),
        "result": _result(lines),
    }
    rows: list[tuple[object, ...]] = [_row(line) for line in lines]
    head = ("test", "seed", "faults injected", "executions checked", "violations")
    return "\n".join(
        [
            "# Fault report",
            "",
            "Written by `make faults`. What each test does and what must hold: `faults.md`.",
            "",
            *_table(("", ""), about.items()),
            "",
            *_table(head, rows),
            "",
        ]
    )


def _row(line: Line) -> tuple[object, ...]:
    if line.skipped:
        return (line.test, line.seed, f"skipped: {line.skipped}", "", "")
    return (line.test, line.seed, line.told_faults(), line.executions, line.violations)


def _result(lines: Sequence[Line]) -> str:
    ran = [line for line in lines if not line.skipped]
    total: Counter[str] = Counter()
    for line in ran:
        total += Counter(line.faults)
    skipped = f", {len(lines) - len(ran)} skipped" if len(lines) > len(ran) else ""
    return (
        f"{_counted(len(ran), 'test')}, {_counted(total.total(), 'fault')} injected, "
        f"{_counted(sum(line.executions for line in ran), 'execution')} checked, "
        f"{_counted(sum(line.violations for line in ran), 'violation')}{skipped}"
    )


def _table(head: Sequence[str], rows: Any) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(_cell(one) for one in line) + " |" for line in lines]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def _machine() -> dict[str, str]:
    told = machine.described()
    return {
        "machine": f"{told['cpus']} cores, {told['processor']}, {told['memory_gib']} GiB",
        "system": f"{told['system']}, Python {platform.python_version()}",
    }


def _commit() -> str:
    def git(*words: str) -> str:
        try:
            asked = subprocess.run(
                ["git", *words], cwd=CHECKOUT, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:  # an unpacked archive on a machine without it
            return ""
        return asked.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (", changed" if changed else "")
