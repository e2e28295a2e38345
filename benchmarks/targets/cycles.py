"""T10, T11: AI cycles - what the engine adds to the time of its model and endpoints, and a hundred.

The model and the endpoints answer after 50 ms each. A cycle asks three times (plan, summarise,
schedule) and calls five endpoints together, so it takes 200 ms where the engine costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from benchmarks import endpoints, programs
from benchmarks.bench import Bench
from benchmarks.installation import MeasurementImpossible
from benchmarks.quantities import percentile
from benchmarks.table import OURS, Check, Measured, Target, value

ANSWER_SECONDS: Final = 0.05
UNAVOIDABLE_MS: Final = 4 * ANSWER_SECONDS * 1000
PLACES: Final = 40
AT_ONCE: Final = 100
P50: Final = f"{OURS}, engine p50"
P95: Final = f"{OURS}, engine p95"
RATE: Final = f"{OURS}, cycles/s"
MOST: Final = f"{OURS}, most at once, of {PLACES} places"
UTILISATION: Final = f"{OURS}, use of the places (%)"
ENDED: Final = f"{OURS}, ended well"


@contextmanager
def _running(bench: Bench, *, places: int) -> Iterator[None]:
    ours = bench.installation
    with (
        endpoints.answering(ours, after_seconds=ANSWER_SECONDS) as endpoint,
        endpoints.answering(ours, after_seconds=ANSWER_SECONDS, module="benchmarks.model") as model,
    ):
        ours.inside("agent", model_url=model.url, endpoint_url=endpoint.url, places=places)
        ours.programs.start([*programs.BEATS, *programs.WORKERS])
        try:
            yield
        finally:
            ours.programs.stop()


def measure_alone(bench: Bench) -> Measured:
    """The two beats and three workers of the Procfile, one cycle after the other."""
    count = bench.much(40, quick=10)
    bench.tell(f"{OURS}: {count} cycles, one after the other")
    with _running(bench, places=PLACES):
        _cycles(bench, 5, at_once=False)
        found = bench.repeat(lambda: _alone(bench, count))
        profile = bench.profiled(lambda: _alone(bench, count))
    notes = ["From the message of a cycle to its outcome, less 200 ms of model and endpoints"]
    return Measured(found, notes=notes, profile=profile)


def _alone(bench: Bench, count: int) -> dict[str, float]:
    over = [one - UNAVOIDABLE_MS for one in _cycles(bench, count, at_once=False)["took_ms"]]
    return {P50: percentile(over, 50), P95: percentile(over, 95)}


def measure_together(bench: Bench) -> Measured:
    """The same processes, a hundred cycles at once, an agent with forty places."""
    bench.tell(f"{OURS}: {AT_ONCE} cycles at once")
    with _running(bench, places=PLACES):
        _cycles(bench, AT_ONCE, at_once=True)
        found = bench.repeat(lambda: _together(bench))
        profile = bench.profiled(lambda: _together(bench))
    return Measured(found, profile=profile)


def _together(bench: Bench) -> dict[str, float]:
    done = _cycles(bench, AT_ONCE, at_once=True)
    held = done["held"]
    began, over = min(one[0] for one in held), max(one[1] for one in held)
    most, used = _use(held)
    return {
        RATE: AT_ONCE / (over - began),
        MOST: most,
        UTILISATION: 100 * used / (PLACES * (over - began)),
        ENDED: done["ok"],
    }


def _use(held: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The most places held at once, and the seconds that places were held."""
    changes = sorted([(at, 1) for at, _ in held] + [(at, -1) for _, at in held])
    now = most = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return float(most), sum(over - began for began, over in held)


def _cycles(bench: Bench, count: int, *, at_once: bool) -> dict[str, Any]:
    ours = bench.installation
    ours.forget()
    done = ours.inside("cycles", count=count, at_once=at_once)
    if done["ok"] < count:
        raise MeasurementImpossible(
            f"{done['ok']} of {count} cycles ended well; one of the others: {done['reason']}"
        )
    return done


ALONE: Final = Target(
    name="T10",
    title="an AI cycle alone: what the engine adds to model and endpoints",
    unit="ms",
    measure=measure_alone,
    checks=(
        Check("must", "p95 < 250 ms", value(P95), 250.0, "below", " ms"),
        Check("aim", "p95 < 80 ms", value(P95), 80.0, "below", " ms"),
    ),
    bars=(P50, P95),
)
TOGETHER: Final = Target(
    name="T11",
    title="100 AI cycles at once, five parallel steps each, an agent with 40 places",
    unit="",
    measure=measure_together,
    checks=(
        Check("must", "all complete", value(ENDED), float(AT_ONCE), "above"),
        Check("must", "capacity kept", value(MOST), float(PLACES), "below"),
        Check("must", "utilisation > 80 %", value(UTILISATION), 80.0, "above", " %"),
        Check("aim", ">= 30 cycles/s", value(RATE), 30.0, "above", "/s"),
    ),
)
