"""T7: one schedule due, nothing else to do - how long after its instant its handler starts."""

from __future__ import annotations

import time
from typing import Final

from benchmarks import programs
from benchmarks.bench import Bench
from benchmarks.installation import MeasurementImpossible
from benchmarks.quantities import percentile
from benchmarks.table import OURS, Check, Measured, Target, value

EXIST: Final = 100_000
LEAD_SECONDS: Final = 3.0
LEAST_PAUSE: Final = 0.35  # seconds between two fires; the phase within a second is random
MOST_PAUSE: Final = 0.85
P50: Final = f"{OURS}, p50"
P99: Final = f"{OURS}, p99"

PLAN: Final = """
WITH chosen AS (
    SELECT id, row_number() OVER () AS place FROM (SELECT id FROM task_schedules LIMIT %(count)s) s
), paused AS (
    SELECT id, sum(%(least)s + random() * (%(most)s - %(least)s)) OVER (ORDER BY place) AS after
    FROM chosen
)
UPDATE task_schedules s SET
    next_run_at = now() + (%(lead)s + after) * interval '1 second',
    anchor_at = now() + (%(lead)s + after) * interval '1 second'
        - (schedule_config->>'interval_ms')::bigint * interval '1 millisecond'
FROM paused WHERE s.id = paused.id
"""
NOMINAL: Final = """
SELECT id::text, extract(epoch FROM nominal_at)::float8 FROM task_executions
"""


def measure(bench: Bench) -> Measured:
    """The two beats and three workers of the Procfile, alone."""
    ours, count = bench.installation, bench.much(60, quick=50)
    bench.tell(f"{OURS}: {count} lone starts")
    ours.fill(EXIST)
    ours.programs.start([*programs.BEATS, *programs.WORKERS])
    try:
        _waits_ms(bench, 10)
        found = bench.repeat(lambda: _sample(bench, count))
    finally:
        ours.programs.stop()
    return Measured(found, notes=[f"{count} fires at random instants in each run"])


def _sample(bench: Bench, count: int) -> dict[str, float]:
    waits = _waits_ms(bench, count)
    return {P50: percentile(waits, 50), P99: percentile(waits, 99)}


def _waits_ms(bench: Bench, count: int) -> list[float]:
    ours = bench.installation
    ours.forget()
    pauses = {"count": count, "least": LEAST_PAUSE, "most": MOST_PAUSE, "lead": LEAD_SECONDS}
    ours.database.execute(PLAN, pauses)
    time.sleep(LEAD_SECONDS + count * LEAST_PAUSE)
    ours.wait_completed(count, seconds=count * MOST_PAUSE + 30)
    began = ours.starts()
    nominal: dict[str, float] = dict(ours.database.execute(NOMINAL).fetchall())
    if began.keys() != nominal.keys():
        raise MeasurementImpossible(f"{len(began)} of {len(nominal)} handlers started")
    return [(at - nominal[one]) * 1000 for one, at in began.items()]


TARGET: Final = Target(
    name="T7",
    title="start latency of a lone due schedule",
    unit="ms",
    measure=measure,
    checks=(
        Check("must", "p50 <= 20 ms", value(P50), 20.0, "below", " ms"),
        Check("must", "p99 <= 100 ms", value(P99), 100.0, "below", " ms"),
        Check("aim", "p50 <= 5 ms", value(P50), 5.0, "below", " ms"),
    ),
    bars=(P50, P99),
)
