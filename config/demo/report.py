"""Outside an execution's life: the proof in numbers, for a person or as one JSON document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from statistics import quantiles
from typing import Any, Final
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from config.demo.evidence import Evidence, Execution, Schedule

PLANNED: Final = {
    "model": "planned by a model",
    "other_provider": "planned by another provider's model",
    "last_good": "without a model: the last good plan, each step called once",
    "deterministic": "without a model: each endpoint called once, in order",
}


@dataclass(frozen=True, slots=True)
class ScheduleReport:
    """What one schedule did. Latencies are milliseconds from the planned to the first start."""

    name: str
    kind: str
    priority: str
    fires: dict[str, int]
    executions: dict[str, int]
    start_latency_ms_p50: float | None
    start_latency_ms_p95: float | None
    errors: dict[str, int]
    recovery: dict[str, int]
    tiers: dict[str, int] = field(default_factory=dict)
    """How many executions of an AI were planned by whom."""


@dataclass(frozen=True, slots=True)
class Report:
    """The whole proof; it agrees when nothing disagrees."""

    judged_at: datetime
    calls: int
    schedules: list[ScheduleReport]
    disagreements: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.disagreements

    def as_json(self) -> dict[str, Any]:
        """The document that `--json` prints."""
        return {
            "agrees": self.agrees,
            **asdict(self),
            "judged_at": self.judged_at.isoformat(),
        }


def summarise(evidence: Evidence, disagreements: Sequence[str]) -> Report:
    """The numbers of every schedule, beside the judge's findings."""
    first_starts = _first_starts(evidence)
    return Report(
        judged_at=evidence.judged_at,
        calls=len(evidence.calls),
        schedules=[_schedule(one, evidence, first_starts) for one in evidence.schedules],
        disagreements=list(disagreements),
    )


def _schedule(
    schedule: Schedule, evidence: Evidence, first_starts: dict[UUID, datetime]
) -> ScheduleReport:
    fires: Counter[str] = Counter()
    for fire in evidence.fires:
        if fire.schedule_id == schedule.id:
            fires[fire.reason] += fire.count
    executions = [one for one in evidence.executions if one.schedule_id == schedule.id]
    errors = [one for one in evidence.errors if one.schedule_id == schedule.id]
    latencies = [
        (first_starts[one.id] - _planned_at(one)).total_seconds() * 1000
        for one in executions
        if one.id in first_starts
    ]
    p50, p95 = _percentiles(latencies)
    own = {one.id for one in executions if one.has_ended}
    tiers = Counter(one.tier for one in evidence.cycles if one.execution_id in own)
    return ScheduleReport(
        name=schedule.name,
        kind=schedule.schedule_type or schedule.trigger_type,
        priority=schedule.priority,
        fires=dict(fires),
        executions=dict(Counter(one.status for one in executions)),
        start_latency_ms_p50=p50,
        start_latency_ms_p95=p95,
        errors=dict(Counter(one.error_class for one in errors)),
        recovery=dict(Counter(one.recovery_status for one in errors)),
        tiers=dict(tiers),
    )


def _planned_at(execution: Execution) -> datetime:
    return execution.nominal_at or execution.created_at


def _first_starts(evidence: Evidence) -> dict[UUID, datetime]:
    """A retry overwrites `started_at`; the error record of the first attempt remembers it."""
    starts = {one.id: one.started_at for one in evidence.executions if one.started_at}
    for error in evidence.errors:
        if error.attempt == 1 and error.started_at and error.execution_id:
            starts[error.execution_id] = error.started_at
    return starts


def _percentiles(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    if len(values) == 1:
        return round(values[0], 1), round(values[0], 1)
    cuts = quantiles(values, n=100, method="inclusive")
    return round(cuts[49], 1), round(cuts[94], 1)


def show(report: Report, console: Console) -> None:
    """The table of a person, and the verdict in words."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("Schedule", "Fires", "Executions"):
        table.add_column(heading)
    table.add_column("Start p50", justify="right")
    table.add_column("p95", justify="right")
    table.add_column("Errors, and what became of them")
    for one in report.schedules:
        errors = f"{_counts(one.errors)}: {_counts(one.recovery)}" if one.errors else "none"
        table.add_row(
            escape(one.name),
            _counts(one.fires) or "by hand",
            _counts(one.executions) or "none",
            _milliseconds(one.start_latency_ms_p50),
            _milliseconds(one.start_latency_ms_p95),
            errors,
        )
    console.print(table)
    console.print()
    for one in report.schedules:
        if one.tiers:
            console.print(f"{escape(repr(one.name))}: {_planned(one.tiers)}.")
    if report.agrees:
        console.print(
            f"The ledgers agree: the tables, the oracle and the {report.calls} calls that the "
            "endpoints saw tell the same."
        )
    for sentence in report.disagreements:
        console.print(f"- {escape(sentence)}.", style="bold")
    if not report.agrees:
        console.print(f"The ledgers disagree in {len(report.disagreements)} points.")


def _planned(tiers: dict[str, int]) -> str:
    """Who planned: `3 runs without a model: all endpoints in their order (deterministic)`."""
    said = (f"{n} runs {PLANNED.get(one, 'planned')} ({one})" for one, n in sorted(tiers.items()))
    return ", ".join(said)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in sorted(counts.items()))


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
