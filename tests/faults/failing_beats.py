"""Beats that end by themselves between two statements, and what they say about it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from tests.processes import Process, System


class FailingBeats:
    """Some beats of `failing`; whoever polls with `System.until` brings each back to life."""

    def __init__(self, system: System, *, seed: int, seconds: tuple[float, float]) -> None:
        self._system = system
        self._logs: list[Path] = []
        self._seed = seed
        self._seconds = "-".join(map(str, seconds))

    def start(self, name: str, *points: str) -> Process:
        """Start one; with `points` it ends at one of these only."""
        log = self._system.folder / f"{name}.deaths"
        log.unlink(missing_ok=True)
        self._logs.append(log)
        celery = [sys.executable, "-m", "celery", "-A", "config.celery", "beat", "--pidfile="]
        scheduler = ["-S", "tests.faults.failing.FailingScheduler", "-l", "INFO"]
        own = ["-s", str(self._system.folder / f"{name}.schedule")]
        words = {
            "FAILING_LOG": str(log),
            "FAILING_SEED": f"{self._seed} {name}",
            "FAILING_SECONDS": self._seconds,
        }
        if points:
            words["FAILING_POINTS"] = ",".join(points)
        return self._system._process(name, [*celery, *scheduler, *own], **words)

    def deaths(self) -> Counter[str]:
        """How often they ended, by the point at which they did."""
        lines = [line for log in self._logs if log.exists() for line in log.read_text().split("\n")]
        return Counter(line.partition(",")[0] for line in lines if line)
