"""Measures targets one after the other on one fresh installation; a failure costs only its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import environment, installation, machine
from benchmarks.bench import Bench
from benchmarks.environment import Peers
from benchmarks.installation import Installation
from benchmarks.table import Measured, Result, Target, judge

Tell = Callable[[str], None]

CACHE: Final = "benchmarks"


@dataclass(frozen=True, slots=True)
class Session:
    """Everything one run of the benchmark found, and where."""

    results: Sequence[Result]
    runs: int
    is_quick: bool
    has_peers: bool
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured and how; `cache` keeps the peers' environment between sessions."""

    targets: Sequence[Target]
    runs: int
    is_quick: bool
    with_peers: bool
    cache: Path


def measure(wanted: Wanted, tell: Tell) -> Session:
    """Measure every wanted target; raises MeasurementImpossible, embedded.ServiceError."""
    began = time.monotonic()
    python = None
    if wanted.with_peers:
        tell("The peers' environment")
        python = environment.install(wanted.cache / CACHE)
    with ExitStack() as stack:
        tell("Fresh services and tables")
        ours = stack.enter_context(installation.running())
        peers = None if python is None else Peers(python, ours, tell)
        bench = Bench(ours, peers, wanted.runs, wanted.is_quick, tell)
        results = [_measure_one(one, bench, ours, tell) for one in wanted.targets]
        return Session(
            results,
            wanted.runs,
            wanted.is_quick,
            wanted.with_peers,
            machine.described(),
            {**machine.versions(), **({} if python is None else environment.versions(python))},
            {**ours.durability(), "redis_server": machine.redis_version(ours.broker)},
            time.monotonic() - began,
        )


def _measure_one(target: Target, bench: Bench, ours: Installation, tell: Tell) -> Result:
    began = time.monotonic()
    tell(f"{target.name}: {target.title}")
    try:
        ours.settle()
        measured = target.measure(bench)
        problem = ""
    except Exception as error:  # noqa: BLE001  whatever fails here, the other targets are measured
        measured, problem = Measured({}), f"{type(error).__name__}: {error}"
        tell(f"{target.name} could not be measured: {error}")
    finally:
        ours.programs.stop()
        ours.forget()
    return Result(target, measured, judge(target, measured), time.monotonic() - began, problem)
