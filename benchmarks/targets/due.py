"""T3 and T4: from the instant at which schedules are due to the last message in Redis.

The two beats of the Procfile, told to prepare nothing before the instant, and no worker. Every
execution row and fire record is committed before its message, so the last message is the last of
everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from benchmarks import programs
from benchmarks.bench import Bench, column, settings
from benchmarks.environment import Runs
from benchmarks.installation import QUEUES, MeasurementImpossible
from benchmarks.peers import watch
from benchmarks.profile import Profile
from benchmarks.quantities import readable
from benchmarks.table import OURS, Check, Measured, Target, apart, times, value

REDBEAT: Final = "redbeat"
BEAT: Final = "django-celery-beat"
FEW: Final = f"{OURS}, 10k of 10k"
MANY: Final = f"{OURS}, 10k of 1M"

WARM_UP: Final = 500
LEAD_SECONDS: Final = 3.0
GIVE_UP_SECONDS: Final = 60.0


def published(bench: Bench, count: int, *, of: int) -> tuple[list[float], Profile | None]:
    """Seconds from the instant at which `count` of the schedules are due, run by run."""
    ours = bench.installation
    bench.tell(f"{OURS}: {count:,} due of {of:,}")
    ours.fill(of)
    ours.programs.start(programs.BEATS, SCHEDULER_AHEAD_MS="0")
    try:
        _publish(bench, WARM_UP, of=of)
        found = [_publish(bench, count, of=of) for _ in range(bench.runs)]
        profile = bench.profiled(lambda: _publish(bench, count, of=of))
    finally:
        ours.programs.stop()
    return found, profile


def _publish(bench: Bench, count: int, *, of: int) -> float:
    ours = bench.installation
    ours.forget()
    due_at = ours.make_due(count, of=of, after_seconds=LEAD_SECONDS)
    burst = watch.burst(
        ours.broker,
        QUEUES,
        due_at=due_at,
        is_complete=lambda _: _executions(bench) >= count,
        give_up_seconds=GIVE_UP_SECONDS,
    )
    fires = bench.installation.ask("SELECT count(*) FROM fire_records WHERE reason = 'dispatched'")
    if not _executions(bench) == fires == count:
        raise MeasurementImpossible(
            f"{count} were due: {_executions(bench)} executions and {fires} fire records were made"
        )
    return burst.seconds


def _executions(bench: Bench) -> int:
    found: int = bench.installation.ask("SELECT count(*) FROM task_executions")
    return found


def complete(peer: Runs, name: str) -> Sequence[str]:
    """What a reader must know of a peer that was not watched to its end."""
    short = [one for one in peer.runs if one["published"] < one["asked"] - 1]
    counts = ", ".join(readable(float(one["published"])) for one in short)
    return [f"{name}: judged by the first {counts} of {short[0]['asked']:,}"] if short else []


def measure_all(bench: Bench) -> Measured:
    """10,000 due of as many, and of a million."""
    all_of = bench.much(1_000_000, quick=100_000)
    redbeat = bench.peer("redbeat", "due", count=10_000, schedules=10_000)
    few, _ = published(bench, 10_000, of=10_000)
    many, profile = published(bench, 10_000, of=all_of)
    notes = [f"{MANY}: in fact of {all_of:,}"] if bench.is_quick else []
    return Measured(
        {FEW: few, MANY: many, REDBEAT: column(redbeat, "seconds")},
        settings=settings(redbeat=redbeat),
        notes=[*notes, f"{OURS}: two beats that prepare nothing before the instant"],
        profile=profile,
    )


def measure_few(bench: Bench) -> Measured:
    """1,000 due of 100,000."""
    exist = 100_000
    redbeat = bench.peer("redbeat", "due", count=1_000, schedules=exist)
    beat = bench.peer(
        *("django_celery_beat", "due"), runs=1, django="settings", count=1_000, schedules=exist
    )
    ours, profile = published(bench, 1_000, of=exist)
    return Measured(
        {OURS: ours, REDBEAT: column(redbeat, "seconds"), BEAT: column(beat, "seconds")},
        settings=settings(redbeat=redbeat, django_celery_beat=beat),
        notes=complete(beat, BEAT),
        profile=profile,
    )


ratio = partial(Check, keeps="above", unit="x")

ALL_DUE: Final = Target(
    name="T3",
    title="due to published, 10,000 due of 10,000 and of a million schedules",
    unit="s",
    measure=measure_all,
    checks=(
        ratio("must", f">= 15x {REDBEAT}, of 10k", times(REDBEAT, FEW), 15.0),
        ratio("must", f">= 15x {REDBEAT}, of 1M", times(REDBEAT, MANY), 15.0),
        Check("must", "the two within 1.3x of each other", apart(FEW, MANY), 1.3, "below", "x"),
        ratio("aim", f">= 30x {REDBEAT}, of 10k", times(REDBEAT, FEW), 30.0),
        ratio("aim", f">= 30x {REDBEAT}, of 1M", times(REDBEAT, MANY), 30.0),
    ),
    bars=(FEW, MANY, REDBEAT),
)
FEW_DUE: Final = Target(
    name="T4",
    title="due to published, 1,000 due of 100,000 schedules",
    unit="s",
    measure=measure_few,
    checks=(
        ratio("must", f">= 500x {BEAT}", times(BEAT, OURS), 500.0),
        ratio("must", f">= 5x {REDBEAT}", times(REDBEAT, OURS), 5.0),
        Check("aim", "< 60 ms", value(OURS), 0.06, "below", " s"),
    ),
    bars=(OURS, REDBEAT, BEAT),
)
