"""N-18: a thousand HTTP schedules due at one instant - each arrives at its endpoint, once, soon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from benchmarks import endpoints, programs
from benchmarks.bench import Bench
from benchmarks.endpoints import Endpoint
from benchmarks.quantities import percentile
from benchmarks.table import OURS, Check, Measured, Target, value

COUNT: Final = 1_000
LEAD_SECONDS: Final = 4.0
DONE_SECONDS: Final = 60.0
LATEST: Final = f"{OURS}, last arrival (ms)"
P99: Final = f"{OURS}, p99 (ms)"
WRONG: Final = f"{OURS}, missing or doubled"


def measure(bench: Bench) -> Measured:
    """Everything the Procfile has but the web, in front of an endpoint that answers at once."""
    ours = bench.installation
    bench.tell(f"{OURS}: {COUNT:,} arrivals")
    with endpoints.answering(ours, after_seconds=0.0) as endpoint:
        ours.fill(COUNT, calls=endpoint.url)
        ours.programs.start([*programs.BEATS, *programs.WORKERS])
        try:
            found = bench.repeat(lambda: _arrive(bench, endpoint))
        finally:
            ours.programs.stop()
    return Measured(found, notes=["Measured at the endpoint"])


def _arrive(bench: Bench, endpoint: Endpoint) -> dict[str, float]:
    ours = bench.installation
    ours.forget()
    endpoint.forget()
    due_at = ours.make_due(COUNT, of=COUNT, after_seconds=LEAD_SECONDS)
    ours.wait_completed(COUNT, seconds=LEAD_SECONDS + DONE_SECONDS)
    return judged(endpoint.arrivals(), count=COUNT, due_at=due_at)


def judged(arrivals: Sequence[tuple[float, str]], *, count: int, due_at: float) -> dict[str, float]:
    """The waits in milliseconds, and how many of `count` keys came not at all or again."""
    seen = Counter(key for _, key in arrivals)
    waits = [(at - due_at) * 1000 for at, _ in arrivals]
    doubled = sum(times - 1 for times in seen.values())
    return {
        LATEST: max(waits, default=float("inf")),
        P99: percentile(waits, 99) if waits else float("inf"),
        WRONG: float(count - len(seen) + doubled),
    }


TARGET: Final = Target(
    name="N-18",
    title="1,000 HTTP schedules due at one instant arrive at their endpoint",
    unit="",
    measure=measure,
    checks=(
        Check("must", "all within 5 s", value(LATEST), 5_000.0, "below", " ms"),
        Check("must", "none missing, none doubled", value(WRONG), 0.0, "below"),
    ),
)
