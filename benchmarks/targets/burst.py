"""T6: a thousand schedules due at one instant - how long after it each handler starts.

The two beats and three workers of the Procfile; the clock is the handler's own.
"""

from __future__ import annotations

from typing import Final

from benchmarks import programs
from benchmarks.bench import Bench, settings
from benchmarks.environment import Runs
from benchmarks.installation import MeasurementImpossible
from benchmarks.quantities import gathered, percentile
from benchmarks.table import OURS, Check, Measured, Target, times_the_least, value

COUNT: Final = 1_000
EXIST: Final = 100_000
WARM_UPS: Final = 3
LEAD_SECONDS: Final = 4.0
DONE_SECONDS: Final = 60.0
P99: Final = f"{OURS}, p99"
PEERS: Final = {"Celery eta": "celery", "pgqueuer": "pgqueuer", "procrastinate": "procrastinate"}


def measure(bench: Bench) -> Measured:
    """Ours, and the peers that can be told an instant."""
    ours = bench.installation
    bench.tell(f"{OURS}: {COUNT:,} starts")
    ours.fill(EXIST)
    ours.programs.start([*programs.BEATS, *programs.WORKERS])
    try:
        for _ in range(WARM_UPS):  # until it is known how long they take
            starts(bench, COUNT, of=EXIST)
            ours.wait_settled(seconds=DONE_SECONDS)
        found = bench.repeat(lambda: _percentiles(OURS, starts(bench, COUNT, of=EXIST)))
        profile = bench.profiled(lambda: starts(bench, COUNT, of=EXIST))
    finally:
        ours.programs.stop()
    peers = {
        name: bench.peer(script, "latency", count=COUNT)
        for name, script in PEERS.items()
        if not (bench.is_quick and name == "procrastinate")
    }
    for name, peer in peers.items():
        found.update(_of_peer(name, peer))
    return Measured(
        found,
        settings=settings(**peers),
        notes=["The peers hold only the 1,000 jobs that become due; ours 100,000 schedules"],
        profile=profile,
    )


def starts(bench: Bench, count: int, *, of: int) -> list[float]:
    """Milliseconds from the instant at which `count` schedules are due to each handler's start."""
    ours = bench.installation
    ours.forget()
    due_at = ours.make_due(count, of=of, after_seconds=LEAD_SECONDS)
    ours.wait_completed(count, seconds=LEAD_SECONDS + DONE_SECONDS)
    found = ours.starts()
    if len(found) != count:
        raise MeasurementImpossible(f"{len(found)} of {count} handlers started")
    return [(at - due_at) * 1000 for at in found.values()]


def _percentiles(name: str, waits_ms: list[float]) -> dict[str, float]:
    return {
        f"{name}, p50": percentile(waits_ms, 50),
        f"{name}, p99": percentile(waits_ms, 99),
    }


def _of_peer(name: str, peer: Runs) -> dict[str, list[float]]:
    return gathered([_percentiles(name, list(one["waits_ms"])) for one in peer.runs])


TARGET: Final = Target(
    name="T6",
    title="start latency of 1,000 due at one instant among 100,000 schedules",
    unit="ms",
    measure=measure,
    checks=(
        Check(
            "must",
            "p99 below the best peer's",
            times_the_least(P99, [f"{name}, p99" for name in PEERS]),
            1.0,
            "below",
            "x",
        ),
        Check("aim", "p99 < 100 ms", value(P99), 100.0, "below", " ms"),
    ),
    bars=(P99, *(f"{name}, p99" for name in PEERS)),
)
