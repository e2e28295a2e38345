"""N-16: one agent out of a thousand for a cycle, while a thousand cycles run."""

from __future__ import annotations

from typing import Final

from benchmarks.bench import Bench
from benchmarks.quantities import percentile
from benchmarks.table import OURS, Check, Measured, Target, value

AGENTS: Final = 1_000
RUNNING: Final = 1_000
P50: Final = f"{OURS}, p50"
P95: Final = f"{OURS}, p95"


def measure(bench: Bench) -> Measured:
    """Nothing else runs: one choice after the other, each committed."""
    count = bench.much(500, quick=200)
    bench.tell(f"{OURS}: {count} choices out of {AGENTS:,} agents")
    found = bench.repeat(lambda: _sample(bench, count))
    notes = ["All agents can do it, are up and have places left: who is least loaded is counted"]
    return Measured(found, notes=notes)


def _sample(bench: Bench, count: int) -> dict[str, float]:
    done = bench.installation.inside("choose", many=AGENTS, running=RUNNING, count=count)
    return {P50: percentile(done["took_ms"], 50), P95: percentile(done["took_ms"], 95)}


TARGET: Final = Target(
    name="N-16",
    title="an agent chosen out of 1,000, while 1,000 cycles run",
    unit="ms",
    measure=measure,
    checks=(Check("must", "p95 < 50 ms", value(P95), 50.0, "below", " ms"),),
    bars=(P50, P95),
)
