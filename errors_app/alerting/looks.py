"""The one table of what a rule can look for: a kind, and the look at executions that finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from errors_app.alerting import ended, failing, house, spending, stalling, unended
from errors_app.alerting.findings import Finding, Scope
from errors_app.models_alerts import AlertKind

LOOKS: Final[Mapping[AlertKind, Callable[[Any, Scope], list[Finding]]]] = {
    AlertKind.FAILURE_RATE: failing.failure_rate,
    AlertKind.STALLED_EXECUTION: stalling.stalled_execution,
    AlertKind.LATE_SCHEDULE: unended.late_schedule,
    AlertKind.MISSED: ended.missed,
    AlertKind.SILENT_SCHEDULE: unended.silent_schedule,
    AlertKind.FINISH_BY: unended.finish_by,
    AlertKind.QUEUE_AGE: unended.queue_age,
    AlertKind.BREAKER_OPEN: house.breaker_open,
    AlertKind.PROCESS_GONE: house.process_gone,
    AlertKind.NO_SPACE: house.no_space,
    AlertKind.DEAD_LETTERS: ended.dead_letters,
    AlertKind.INCIDENT_OPENED: ended.incident_opened,
    AlertKind.TOKEN_SPIKE: spending.token_spike,
}
