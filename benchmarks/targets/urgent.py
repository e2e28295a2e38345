"""T14: a backlog of low priority, then critical work - how soon it starts, and what low keeps."""

from __future__ import annotations

from typing import Final

from benchmarks import programs
from benchmarks.bench import Bench
from benchmarks.installation import MeasurementImpossible
from benchmarks.quantities import percentile
from benchmarks.table import OURS, Check, Measured, Target, value

LOW: Final = 10_000
LOW_SECONDS: Final = 0.005
CRITICAL: Final = 100
WINDOW: Final = (
    "Critical work comes when a twentieth of the low is done; low's part is of all that start "
    "from then until the last critical one has"
)
WARM_UP: Final = 500
DONE_SECONDS: Final = 120.0
START: Final = f"{OURS}, critical p95 (ms)"
SHARE: Final = f"{OURS}, low's part of the starts meanwhile (%)"


def measure(bench: Bench) -> Measured:
    """Beats and workers of the Procfile (a beat sends again what a slow slice gave back)."""
    ours = bench.installation
    bench.tell(f"{OURS}: {LOW:,} low, then {CRITICAL} critical")
    ours.programs.start([*programs.BEATS, *programs.WORKERS])
    try:
        ours.forget()
        ours.inside("queue", count=WARM_UP)
        ours.wait_completed(WARM_UP, seconds=DONE_SECONDS)
        found = bench.repeat(lambda: _press(bench))
    finally:
        ours.programs.stop()
    return Measured(
        found,
        notes=[WINDOW],
    )


def _press(bench: Bench) -> dict[str, float]:
    ours = bench.installation
    ours.forget()
    pressed = ours.inside("urgent", backlog=LOW, backlog_seconds=LOW_SECONDS, count=CRITICAL)
    ours.wait_completed(LOW + CRITICAL, seconds=DONE_SECONDS)
    starts, critical = ours.starts(), set(pressed["critical"])
    if len(starts) != LOW + CRITICAL:
        raise MeasurementImpossible(f"{len(starts)} of {LOW + CRITICAL} handlers started")
    return judged(starts, critical=critical, published_at=pressed["published_at"])


def judged(
    starts: dict[str, float], *, critical: set[str], published_at: float
) -> dict[str, float]:
    """How long critical work waited, and how much of what began meanwhile was low."""
    waits = [(starts[one] - published_at) * 1000 for one in critical]
    until = max(starts[one] for one in critical)
    low = sum(published_at <= at <= until for one, at in starts.items() if one not in critical)
    return {START: percentile(waits, 95), SHARE: 100 * low / (low + len(critical))}


TARGET: Final = Target(
    name="T14",
    title="priority: 10,000 low queued, then 100 critical",
    unit="",
    measure=measure,
    checks=(
        Check("must", "critical p95 start < 250 ms", value(START), 250.0, "below", " ms"),
        Check("must", "low's share never 0", value(SHARE), 0.1, "above", " %"),
    ),
)
