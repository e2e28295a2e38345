"""T2: the same backlog with one execution per message."""

from __future__ import annotations

from typing import Final

from benchmarks.bench import Bench
from benchmarks.table import OURS, Check, Measured, Target, times
from benchmarks.targets.drain import CELERY, DCR, HISTORY_MS, drained_peers, ours_drained


def measure(bench: Bench) -> Measured:
    """Ours with one execution per message, and Celery."""
    ours, notes, profile = ours_drained(bench, predicted_ms=HISTORY_MS, most_per_message=1)
    peers, how = drained_peers(bench)
    return Measured({**ours, **peers}, settings=how, notes=notes, profile=profile)


TARGET: Final = Target(
    name="T2",
    title="the same, one execution per message",
    unit="executions/s",
    better="higher",
    measure=measure,
    checks=(
        Check("must", f">= 3.5x {DCR}", times(OURS, DCR), 3.5, "above", "x"),
        Check("aim", f"as fast as {CELERY}", times(OURS, CELERY), 1.0, "above", "x"),
    ),
    bars=(OURS, CELERY, DCR),
)
