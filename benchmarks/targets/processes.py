"""T15: the same backlog with 1, 5 and 10 worker processes, and how long one execution takes."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from benchmarks.bench import Bench
from benchmarks.table import OURS, Measured, Target
from benchmarks.targets.drain import DRAIN_SECONDS, HISTORY_MS

COUNTS: Final = (1, 5, 10)
WORKER: Final = "worker_io"
DURATIONS: Final = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY took)::float8,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY took)::float8
FROM (SELECT extract(epoch FROM completed_at - started_at) * 1000 AS took FROM task_executions) d
"""


def measure(bench: Bench) -> Measured:
    """Copies of the io worker of the Procfile, on the cores there are."""
    rows = [_with(bench, count) for count in (COUNTS[:2] if bench.is_quick else COUNTS)]
    rates = {f"{OURS}, {row['processes']} processes": row.pop("rates") for row in rows}
    return Measured(rates, table=rows, notes=["p50 and p95: from claim to durable outcome, in ms"])


def _with(bench: Bench, processes: int) -> dict[str, Any]:
    ours = bench.installation
    bench.tell(f"{OURS}: {processes} worker processes")
    ours.programs.copies(WORKER, processes)
    count = bench.much(10_000, quick=5_000)
    try:
        _drain(bench, count)
        found = [_drain(bench, count) for _ in range(bench.runs)]
    finally:
        ours.programs.stop()
    return {
        "processes": processes,
        "executions/s": median(one["rate"] for one in found),
        "p50 ms": median(one["p50"] for one in found),
        "p95 ms": median(one["p95"] for one in found),
        "rates": [one["rate"] for one in found],
    }


def _drain(bench: Bench, count: int) -> Mapping[str, float]:
    ours = bench.installation
    ours.forget()
    ours.programs.hold()
    ours.inside("queue", count=count, predicted_ms=HISTORY_MS)
    released_at = ours.programs.release()
    ours.wait_completed(count, seconds=DRAIN_SECONDS)
    _, last = ours.drained_at()
    p50, p95 = ours.ask(DURATIONS)
    return {"rate": count / (last - released_at), "p50": p50, "p95": p95}


TARGET: Final = Target(
    name="T15",
    title="worker processes",
    unit="executions/s",
    better="higher",
    measure=measure,
    bars=tuple(f"{OURS}, {count} processes" for count in COUNTS),
)
