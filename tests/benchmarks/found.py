"""Results of a session that nobody measured, for the tests of what is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.bench import Bench
from benchmarks.run import Session
from benchmarks.table import OURS, Check, Measured, Result, Target, judge, times

PEER = "peer"
TEN_TIMES = Check("must", ">= 10x peer", times(OURS, PEER), 10.0, "above", "x")
AS_FAST = Check("aim", ">= 100x peer", times(OURS, PEER), 100.0, "above", "x")


def never(_bench: Bench) -> Measured:
    raise AssertionError


def target(name: str = "T0", checks: Sequence[Check] = (TEN_TIMES, AS_FAST)) -> Target:
    return Target(
        name=name,
        title="work <done>",
        unit="jobs/s",
        measure=never,
        checks=checks,
        bars=(OURS, PEER),
        better="higher",
    )


def result(
    runs: Mapping[str, Sequence[float]], *, of: Target | None = None, problem: str = ""
) -> Result:
    asked = of or target()
    measured = Measured(runs, settings={PEER: {"threads": 4}}, notes=["with care"])
    return Result(asked, measured, judge(asked, measured), 1.0, problem)


def session(*results: Result, is_quick: bool = False, has_peers: bool = True) -> Session:
    return Session(
        results,
        runs=3,
        is_quick=is_quick,
        has_peers=has_peers,
        machine={"cpus": 2},
        versions={"celery": "5.7.0"},
        settings={"fsync": "on"},
        seconds=60.0,
    )
