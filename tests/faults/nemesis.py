"""What a fault test does to the product, counted: each test can say what it did and looked at."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from executions_app.models import Execution
from tests.faults import hygiene, invariants
from tests.faults.sampling import Watch
from tests.processes import System


@dataclass
class Nemesis:
    """One test's source of chance, and its book of faults, checked executions and violations."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    violations: list[str] = field(default_factory=list)
    _blows: Counter[str] = field(default_factory=Counter)
    _rows: int = 0
    _watch: Watch | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def watch(self, system: System) -> None:
        """Count from now on what is done to the processes of a system, and its executions."""
        self._blows = system.blows()
        self._rows = Execution.objects.count()
        self._watch = Watch(
            system.environment["DATABASE_URL"], is_disturbed=lambda: _is_any_paused(system)
        )

    @property
    def watched(self) -> Watch:
        """What was seen of the product's sessions since `watch`."""
        assert self._watch is not None
        return self._watch

    def count(self, system: System) -> None:
        """Book what was done to the system since `watch`; raises AssertionError by I8."""
        self._book(system)
        self.found(self._held_open())

    def look(self, system: System) -> None:
        """Count, and hold the system against every invariant; raises AssertionError."""
        self._book(system)
        broken = [f"{rule}: {rows}" for rule, rows in invariants.healed().items()]
        left = hygiene.litter(system)
        self.found([*broken, *self._held_open(), *left, *invariants.disagreements(system)])

    def _book(self, system: System) -> None:
        self.watched.end()
        self.faults += system.blows() - self._blows
        self.checks(Execution.objects.count() - self._rows)

    def _held_open(self) -> list[str]:
        return [f"{invariants.NOTHING_HELD_OPEN}: {one}" for one in self.watched.held_open()]

    def strikes(self, fault: str, *, times: int = 1) -> None:
        """A fault that is no kill or pause of a process (those are counted by themselves)."""
        self.faults[fault] += times

    def checks(self, executions: int) -> None:
        """So many executions more were held against what must be true."""
        self.executions += executions

    def found(self, violations: Iterable[str]) -> None:
        """What is not as it must be; raises AssertionError if there is any."""
        new = list(violations)
        self.violations += new
        if new:
            shown = "\n".join(new[:20])
            raise AssertionError(f"seed {self.seed}, {len(new)} violations:\n{shown}")


def _is_any_paused(system: System) -> bool:
    for process in list(system.processes.values()):
        try:
            if process.is_alive() and psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                return True
        except psutil.NoSuchProcess:
            continue
    return False
