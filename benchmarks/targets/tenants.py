"""T16: forty tenants under a limit each, one with very much work - what the others notice."""

from __future__ import annotations

from typing import Final

from benchmarks import programs
from benchmarks.bench import Bench
from benchmarks.installation import MeasurementImpossible
from benchmarks.quantities import percentile
from benchmarks.table import OURS, Check, Measured, Target, times

LIMIT: Final = "key:tenant:*"
AT_ONCE: Final = 4
LOUD: Final = 10_000
LOUD_SECONDS: Final = 0.05
QUIET: Final = 39
ROUNDS: Final = 20
PAUSE_SECONDS: Final = 0.1
WARM_UP: Final = 500
DONE_SECONDS: Final = 120.0
ALONE: Final = f"{OURS}, p95 wait of the quiet alone (ms)"
BESIDE: Final = f"{OURS}, p95 wait beside {LOUD:,} held (ms)"
HOW: Final = (
    f"Each tenant may have {AT_ONCE} executions at once; every {PAUSE_SECONDS * 1000:g} ms one "
    f"execution of each of {QUIET} quiet tenants is wanted, {ROUNDS} times; a wait is until its "
    "handler starts"
)


def measure(bench: Bench) -> Measured:
    """Beats and workers of the Procfile; first the quiet tenants alone, then beside the loud."""
    ours = bench.installation
    ours.inside("limit", key=LIMIT, most=AT_ONCE)
    try:
        found = bench.repeat(lambda: _both(bench))
    finally:
        ours.inside("limit", key=LIMIT, most=None)
    return Measured(found, notes=[HOW])


def _both(bench: Bench) -> dict[str, float]:
    bench.tell(f"{OURS}: {QUIET} quiet tenants, then beside one with {LOUD:,} executions")
    ours = bench.installation
    ours.forget()
    ours.programs.start([*programs.BEATS, *programs.WORKERS])
    try:
        ours.inside("queue", count=WARM_UP)
        ours.wait_completed(WARM_UP, seconds=DONE_SECONDS)
        return {ALONE: _p95_wait(bench, loud=0), BESIDE: _p95_wait(bench, loud=LOUD)}
    finally:
        ours.programs.stop()  # with most of the loud work undone
        ours.forget()


def _p95_wait(bench: Bench, *, loud: int) -> float:
    answer = bench.installation.inside(
        "tenants",
        loud=loud,
        loud_seconds=LOUD_SECONDS,
        quiet=QUIET,
        rounds=ROUNDS,
        pause_seconds=PAUSE_SECONDS,
    )
    bench.installation.wait_started(answer["wanted"], seconds=DONE_SECONDS)
    return judged(bench.installation.starts(), wanted=answer["wanted"])


def judged(starts: dict[str, float], *, wanted: dict[str, float]) -> float:
    """The p95 of the waits in milliseconds; raises MeasurementImpossible if any is missing."""
    missing = wanted.keys() - starts.keys()
    if missing:
        raise MeasurementImpossible(f"{len(missing)} of {len(wanted)} executions did not start")
    return percentile([(starts[one] - at) * 1000 for one, at in wanted.items()], 95)


TARGET: Final = Target(
    name="T16",
    title="fairness: 40 tenants under a limit each, one of them with 10,000 held",
    unit="",
    measure=measure,
    checks=(
        Check("must", "p95 wait <= 2x of theirs alone", times(BESIDE, ALONE), 2.0, "below", "x"),
    ),
)
