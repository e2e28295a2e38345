"""T1: a backlog of executions that do nothing, drained - from the claims to durable outcomes."""

from __future__ import annotations

from typing import Any, Final

from benchmarks import programs
from benchmarks.bench import Bench, column, settings
from benchmarks.profile import Profile
from benchmarks.quantities import readable
from benchmarks.table import OURS, Check, Measured, Target, times

DCR: Final = "Celery + django-celery-results"
CELERY: Final = "Celery, nothing kept"
PROCRASTINATE: Final = "procrastinate"
PGQUEUER: Final = "pgqueuer"

WARM_UP: Final = 2_000
HISTORY_MS: Final = 0.1  # what such executions take by their own clocks
DRAIN_SECONDS: Final = 120.0


def measure(bench: Bench) -> Measured:
    """Ours with the messages the product makes of a known history, and all four peers."""
    ours, notes, profile = ours_drained(bench, predicted_ms=HISTORY_MS, most_per_message=None)
    peers, how = drained_peers(bench)
    procrastinate = bench.peer("procrastinate", "drain", count=bench.much(10_000, quick=2_000))
    pgqueuer = bench.peer("pgqueuer", "drain", count=10_000)
    return Measured(
        {
            **ours,
            **peers,
            PROCRASTINATE: column(procrastinate, "rate"),
            PGQUEUER: column(pgqueuer, "rate"),
        },
        settings={**how, **settings(procrastinate=procrastinate, pgqueuer=pgqueuer)},
        notes=notes,
        profile=profile,
    )


def drained_peers(bench: Bench) -> tuple[dict[str, Any], dict[str, Any]]:
    """Celery with and without a durable record."""
    recorded = bench.peer(
        "celery", "drain", django="django-db", count=bench.much(10_000, quick=3_000)
    )
    bare = bench.peer("celery", "drain", count=10_000)
    rates = {DCR: column(recorded, "rate"), CELERY: column(bare, "rate")}
    return rates, settings(celery=recorded)


def ours_drained(
    bench: Bench, *, predicted_ms: float | None, most_per_message: int | None, count: int = 10_000
) -> tuple[dict[str, list[float]], list[str], Profile | None]:
    """The rate at which the worker lines of the Procfile drain `count` executions."""
    ours = bench.installation
    bench.tell(f"{OURS}: {count:,} executions")
    ours.programs.start(programs.WORKERS)
    try:
        _drain(bench, WARM_UP, predicted_ms, most_per_message)
        found = bench.repeat(lambda: _drain(bench, count, predicted_ms, most_per_message))
        profile = bench.profiled(lambda: _drain(bench, count, predicted_ms, most_per_message))
    finally:
        ours.programs.stop()
    rates = ", ".join(readable(one) for one in found.pop("claim to outcome"))
    messages = ", ".join(readable(one) for one in found.pop("messages"))
    note = (
        f"{OURS}: the three worker lines of the Procfile, {messages} messages; from the first "
        f"claim to the last outcome (without waking up) {rates} a second"
    )
    return found, [note], profile


def _drain(
    bench: Bench, count: int, predicted_ms: float | None, most_per_message: int | None
) -> dict[str, float]:
    ours = bench.installation
    ours.forget()
    ours.programs.hold()
    queued = ours.inside(
        "queue", count=count, predicted_ms=predicted_ms, most_per_message=most_per_message
    )
    released_at = ours.programs.release()
    ours.wait_completed(count, seconds=DRAIN_SECONDS)
    first, last = ours.drained_at()
    return {
        OURS: count / (last - released_at),
        "claim to outcome": count / (last - first),
        "messages": queued["messages"],
    }


TARGET: Final = Target(
    name="T1",
    title="10,000 queued executions that do nothing, drained, durable from claim to outcome",
    unit="executions/s",
    better="higher",
    measure=measure,
    checks=(
        Check("must", f">= 14x {DCR}", times(OURS, DCR), 14.0, "above", "x"),
        Check("must", f">= 10x {PROCRASTINATE}", times(OURS, PROCRASTINATE), 10.0, "above", "x"),
        Check("aim", f">= 1.0x {PGQUEUER}", times(OURS, PGQUEUER), 1.0, "above", "x"),
    ),
    bars=(OURS, PGQUEUER, CELERY, PROCRASTINATE, DCR),
)
