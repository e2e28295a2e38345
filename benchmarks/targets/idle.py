"""T5: what a beat costs when nothing is due, and how soon an edited schedule is seen."""

from __future__ import annotations

from typing import Final

from benchmarks.bench import Bench, column, settings
from benchmarks.installation import MeasurementImpossible
from benchmarks.table import OURS, Check, Measured, Target, value
from benchmarks.targets.due import BEAT, REDBEAT

EDIT: Final = f"{OURS}, tick after an edit"
TICKS: Final = 300
EDITS: Final = 20


def measure(bench: Bench) -> Measured:
    """Rounds of the beat's metronome, in a process of its own beside no other."""
    ours, exist = bench.installation, bench.much(1_000_000, quick=100_000)
    bench.tell(f"{OURS}: idle ticks at {exist:,} schedules")
    ours.fill(exist)
    found = bench.repeat(lambda: _tick(bench))
    redbeat = bench.peer("redbeat", "tick", schedules=100_000)
    beat_exist = bench.much(100_000, quick=10_000)
    beat = bench.peer(
        *("django_celery_beat", "tick"), runs=1, django="settings", schedules=beat_exist
    )
    names = {REDBEAT: redbeat, BEAT: beat}
    return Measured(
        {
            **found,
            **{name: column(peer, "p50_ms") for name, peer in names.items()},
            **{f"{name}, edit": column(peer, "edit_ms") for name, peer in names.items()},
        },
        settings=settings(redbeat=redbeat, django_celery_beat=beat),
        notes=[
            f"{OURS}: {exist:,} schedules; {REDBEAT}: 100,000; {BEAT}: {beat_exist:,}",
            f"{EDIT}: the round that follows saving a schedule, and sees its new next run",
            "Edit, of the peers: saving a schedule and the tick that follows",
        ],
    )


def _tick(bench: Bench) -> dict[str, float]:
    bench.installation.forget()
    found = bench.installation.inside("ticks", count=TICKS, edits=EDITS)
    if not found["seen"]:
        raise MeasurementImpossible("The next tick did not see an edited schedule")
    return {
        OURS: found["p50_ms"],
        f"{OURS}, p95": found["p95_ms"],
        EDIT: found["after_edit_ms"],
        f"{OURS}, saving the edit": found["edit_ms"],
    }


TARGET: Final = Target(
    name="T5",
    title="an idle tick at a million schedules; the tick after one was edited",
    unit="ms",
    measure=measure,
    checks=(
        Check("must", "idle tick <= 1 ms (median)", value(OURS), 1.0, "below", " ms"),
        Check(
            "must", "an edit is seen by the next tick in <= 5 ms", value(EDIT), 5.0, "below", " ms"
        ),
        Check(
            "aim",
            "an idle tick as cheap as an empty claim: 0.2 ms",
            value(OURS),
            0.2,
            "below",
            " ms",
        ),
    ),
    bars=(OURS, EDIT, REDBEAT, f"{REDBEAT}, edit", BEAT, f"{BEAT}, edit"),
)
