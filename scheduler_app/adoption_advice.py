"""What a cycle advises about the next run of its schedule, as a decision that nobody took yet.

`adoption` asks `decision_of` first, for every cycle with advice. What cannot be read becomes a
decision too: it is refused, and says why.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from agents_app.models import Cycle
from agents_app.planning.fallback_timing import BUDGET
from executions_app import ids
from executions_app.scrub import storable_without_secrets
from executions_app.states import DecisionStatus
from scheduler_app.clamping import as_text
from scheduler_app.models import DecisionKind, ScheduleDecision
from scheduler_app.policies import ON_TIME

PROPOSAL_LASTS: Final = timedelta(days=7)
"""At most; the run that it is about ends it sooner."""
LONGEST_INTERVAL_MS: Final = 10 * 366 * 86_400_000
MOST_REASON_BYTES: Final = 4_000
MOST_ACTIONS_BYTES: Final = 8_000
Milliseconds = Annotated[int, Field(ge=1, le=LONGEST_INTERVAL_MS)]


class Autonomy(StrEnum):
    """How far a schedule lets its AI go."""

    OFF = "off"
    SHADOW = "shadow"
    PROPOSE = "propose"
    AUTO = "auto"


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Advice(_Read):
    """When to run next, with its reason."""

    action: DecisionKind
    next_run_at: AwareDatetime | None = None
    interval_ms: Milliseconds | None = None
    pause_until: AwareDatetime | None = None
    reason: str = ""
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    recommended_actions: list[str] = []

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if self.action is not DecisionKind.KEEP and self.value is None:
            raise ValueError(f"{self.action.value!r} does not say when")
        return self

    @property
    def value(self) -> datetime | int | None:
        """What belongs to the action."""
        by_action = {
            DecisionKind.NEXT_RUN_AT: self.next_run_at,
            DecisionKind.INTERVAL: self.interval_ms,
            DecisionKind.PAUSE: self.pause_until,
        }
        return by_action.get(self.action)


class Advised(_Read):
    """The column `advice` of a cycle."""

    source: str
    advice: Advice
    autonomy: Autonomy
    min_interval_ms: Milliseconds = 60_000
    max_interval_ms: Milliseconds = 86_400_000


class Proposed(_Read):
    """The column `proposed` of a decision: all that its limits are reckoned from.

    `nominal_at` is the planned instant of the run that decided, `ran_at` the same unless it began
    late.
    """

    action: DecisionKind
    next_run_at: AwareDatetime | None = None
    interval_ms: Milliseconds | None = None
    pause_until: AwareDatetime | None = None
    recommended_actions: list[JsonValue] = []
    nominal_at: AwareDatetime
    ran_at: AwareDatetime
    min_interval_ms: Milliseconds
    max_interval_ms: Milliseconds

    @property
    def wanted(self) -> datetime | None:
        """The instant that is proposed: of the next run, or of the end of a pause."""
        if self.action is DecisionKind.INTERVAL:
            assert self.interval_ms is not None  # Advice has seen to it
            return self.ran_at + timedelta(milliseconds=self.interval_ms)
        return self.pause_until if self.action is DecisionKind.PAUSE else self.next_run_at


def decision_of(cycle: Cycle, *, nominal_at: datetime | None, now: datetime) -> ScheduleDecision:
    """A new decision, not stored yet; `nominal_at` is that of the cycle's execution, if it has one.

    It is `proposed` where a person or the clamps are to decide, `recorded` where nobody will, and
    `refused` where the advice cannot be read.
    """
    assert cycle.schedule_id is not None  # others are not asked for
    decision = ScheduleDecision(
        id=ids.new(now),
        schedule_id=cycle.schedule_id,
        owner_id=cycle.owner_id,
        execution_id=cycle.execution_id,
        cycle_id=cycle.id,
        seen_version=cycle.seen_version,
        seen_next_run_at=cycle.seen_next_run_at,
        expires_at=min(cycle.seen_next_run_at or now + PROPOSAL_LASTS, now + PROPOSAL_LASTS),
        created_at=now,
        updated_at=now,
    )
    try:
        advised = Advised.model_validate(cycle.advice)
    except ValidationError as error:
        _refuse_unread(decision, cycle.advice, error)
        return decision
    nominal = nominal_at or cycle.started_at
    ran_at = nominal if cycle.started_at - nominal <= ON_TIME else cycle.started_at
    _fill(decision, advised, nominal_at=nominal, ran_at=ran_at)
    return decision


def read(decision: ScheduleDecision) -> Proposed:
    """What a stored decision proposes."""
    return Proposed.model_validate(decision.proposed)


def is_of_a_budget(decision: ScheduleDecision) -> bool:
    """True of what a person has said of a spent budget: no AI decides it, no autonomy stops it."""
    return decision.source == BUDGET


def shown(decision: ScheduleDecision) -> datetime:
    """The instant that the limits have left of it, and that people are shown."""
    return datetime.fromisoformat(decision.clamped[name_of_instant(decision)])


def name_of_instant(decision: ScheduleDecision) -> str:
    """Under which name `clamped` holds that instant."""
    return "pause_until" if decision.kind == DecisionKind.PAUSE else "next_run_at"


def _fill(
    decision: ScheduleDecision, advised: Advised, *, nominal_at: datetime, ran_at: datetime
) -> None:
    advice = advised.advice
    decision.source, decision.autonomy = advised.source, advised.autonomy
    decision.kind, decision.confidence = advice.action, advice.confidence
    decision.reason = storable(advice.reason)
    actions, _ = storable_without_secrets(advice.recommended_actions, max_bytes=MOST_ACTIONS_BYTES)
    proposed: dict[str, Any] = {
        "action": advice.action.value,
        "recommended_actions": actions,
        "nominal_at": as_text(nominal_at),
        "ran_at": as_text(ran_at),
        "min_interval_ms": advised.min_interval_ms,
        "max_interval_ms": max(advised.min_interval_ms, advised.max_interval_ms),
    }
    if advice.action is not DecisionKind.KEEP:
        name = {DecisionKind.INTERVAL: "interval_ms", DecisionKind.PAUSE: "pause_until"}
        value = advice.value
        key = name.get(advice.action, "next_run_at")
        proposed[key] = as_text(value) if isinstance(value, datetime) else value
    decision.proposed = proposed
    is_for_nobody = advised.autonomy in {Autonomy.OFF, Autonomy.SHADOW}
    if (is_for_nobody and not is_of_a_budget(decision)) or advice.action is DecisionKind.KEEP:
        decision.status = DecisionStatus.RECORDED


def _refuse_unread(decision: ScheduleDecision, advice: Any, error: ValidationError) -> None:
    kept, _ = storable_without_secrets(advice, max_bytes=MOST_ACTIONS_BYTES)
    given = advice if isinstance(advice, dict) else {}
    problems = "; ".join(
        f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:5]
    )
    decision.source, decision.autonomy = _word(given, "source"), _word(given, "autonomy")
    decision.kind, decision.proposed = DecisionKind.KEEP, {"unread": kept}
    decision.status = DecisionStatus.REFUSED
    decision.refusal = storable(f"the advice cannot be read: {problems}")


def _word(given: dict[str, Any], name: str) -> str:
    return storable(str(given.get(name, "unknown")))[:100]


def storable(text: str) -> str:
    """`text` as it may be kept: without secrets, and not too long."""
    kept, _ = storable_without_secrets(text, max_bytes=MOST_REASON_BYTES)
    return str(kept)
