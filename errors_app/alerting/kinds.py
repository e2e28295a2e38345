"""What a rule may look for in executions and around them, and with which parameters: pure.

Each kind has a model of its parameters; times are milliseconds. The defaults are those of the
rules that every installation begins with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from errors_app.models_alerts import AlertKind
from errors_app.taxonomy import Severity

MINUTE_MS: Final = 60_000
DAY_MS: Final = 24 * 60 * MINUTE_MS
Time = Annotated[int, Field(ge=1_000, le=31 * DAY_MS, description="milliseconds")]
Window = Annotated[int, Field(ge=MINUTE_MS, le=DAY_MS, description="milliseconds")]


class Parameters(BaseModel):
    """What is the same for all kinds: a name that nobody reads is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FailureRate(Parameters):
    """At least `threshold_percent` of the executions that ended within `window_ms` failed."""

    threshold_percent: Annotated[float, Field(gt=0, le=100)] = 20
    min_runs: Annotated[int, Field(ge=1, le=200)] = 5
    window_ms: Window = 15 * MINUTE_MS
    per: Literal["schedule", "everything"] = "schedule"


class StalledExecution(Parameters):
    """Running without a heartbeat, beyond its time limit, or far longer than it usually does."""

    heartbeat_ms: Time = MINUTE_MS
    over_limit_ms: Time = MINUTE_MS
    p95_factor: Annotated[float, Field(ge=1.5, le=1_000)] | None = None
    p95_min_runs: Annotated[int, Field(ge=5, le=50)] = 20


class LateSchedule(Parameters):
    """Start by: a fire has not begun so long after it was to begin.

    What waits for limits or for others of its schedule counts `with_held` only.
    """

    start_by_ms: Time = 5 * MINUTE_MS
    with_held: bool = False


class Missed(Parameters):
    """Fires were recorded as missed within `window_ms`."""

    min_fires: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    window_ms: Window = 15 * MINUTE_MS


class SilentSchedule(Parameters):
    """No execution has completed for `max_silence_ms`; needs a schedule or an owner."""

    max_silence_ms: Annotated[int, Field(ge=1_000, le=400 * DAY_MS)] = DAY_MS


class FinishBy(Parameters):
    """An execution has not ended so long after it was to begin."""

    finish_by_ms: Time = 60 * MINUTE_MS


class QueueAge(Parameters):
    """The oldest execution of a queue stands there for so long."""

    max_age_ms: Time = 2 * MINUTE_MS
    low_max_age_ms: Time = 30 * MINUTE_MS


class BreakerOpen(Parameters):
    """The breaker of an endpoint is not closed, and has not been for `for_ms`."""

    for_ms: Annotated[int, Field(ge=0, le=DAY_MS)] = 0


class ProcessGone(Parameters):
    """A beat or worker fell silent and nobody took its place, or there is none at all."""

    none_for_ms: Time = MINUTE_MS


class NoSpace(Parameters):
    """Little is left where the embedded PostgreSQL keeps its data, or of the memory of Redis."""

    min_free_bytes: Annotated[int, Field(ge=0)] = 1_000_000_000
    redis_percent: Annotated[float, Field(gt=0, le=100)] = 80


class DeadLetters(Parameters):
    """Executions were given up within `window_ms`, and nobody has decided about them."""

    min_letters: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    window_ms: Window = 15 * MINUTE_MS


class IncidentOpened(Parameters):
    """An incident is open: nobody has acknowledged it, and it is not over."""

    min_severity: Severity = Severity.MEDIUM


class TokenSpike(Parameters):
    """The newest AI cycle of an enabled schedule used `factor` times the mean of those before it.

    Those are the `trail` before it, of which at least `min_cycles` asked a model.
    """

    factor: Annotated[float, Field(ge=1.5, le=1_000)] = 3.0
    min_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000
    min_cycles: Annotated[int, Field(ge=1, le=100)] = 5
    trail: Annotated[int, Field(ge=1, le=100)] = 20
    window_ms: Window = 60 * MINUTE_MS


PARAMETERS: Final[Mapping[AlertKind, type[Parameters]]] = {
    AlertKind.FAILURE_RATE: FailureRate,
    AlertKind.STALLED_EXECUTION: StalledExecution,
    AlertKind.LATE_SCHEDULE: LateSchedule,
    AlertKind.MISSED: Missed,
    AlertKind.SILENT_SCHEDULE: SilentSchedule,
    AlertKind.FINISH_BY: FinishBy,
    AlertKind.QUEUE_AGE: QueueAge,
    AlertKind.BREAKER_OPEN: BreakerOpen,
    AlertKind.PROCESS_GONE: ProcessGone,
    AlertKind.NO_SPACE: NoSpace,
    AlertKind.DEAD_LETTERS: DeadLetters,
    AlertKind.INCIDENT_OPENED: IncidentOpened,
    AlertKind.TOKEN_SPIKE: TokenSpike,
}
NEED_A_SCOPE: Final = frozenset({AlertKind.SILENT_SCHEDULE})
"""Their rows have no index over all owners: they are looked at for a schedule or an owner."""
OF_THE_HOUSE: Final = frozenset(
    {AlertKind.PROCESS_GONE, AlertKind.NO_SPACE, AlertKind.BREAKER_OPEN, AlertKind.QUEUE_AGE}
)
"""What belongs to no schedule and to nobody."""
ORDER: Final = (Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)


def parameters(kind: str, given: Mapping[str, Any]) -> Parameters:
    """The parameters of a kind, completed; raises pydantic.ValidationError."""
    return PARAMETERS[AlertKind(kind)].model_validate(dict(given))


def at_least(severity: Severity) -> list[str]:
    """This severity and the graver ones."""
    return [one.value for one in ORDER[ORDER.index(severity) :]]
