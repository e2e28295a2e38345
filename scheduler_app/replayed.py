"""A replay of a cycle with what only its schedule knows: today's settings, and today's limits.

Nothing here is written: a decision is weighed once more and never stored.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from agents_app.agent_config import AgentConfig
from agents_app.models import Cycle
from agents_app.planning.contracts import Advice
from agents_app.replay import offline, recorded, telling
from agents_app.replay.deciding import Decided
from agents_app.replay.offline import Offline
from agents_app.replay.recorded import Recorded
from agents_app.replay.telling import Section
from agents_app.tiers import TASK_TYPE
from executions_app.states import DecisionStatus
from scheduler_app import adoption_advice, adoption_weighing
from scheduler_app.adoption_words import LIMITS
from scheduler_app.clamping import Refused, as_text
from scheduler_app.models import DecisionKind, Schedule, ScheduleDecision

AS_IT_WAS: Final = "what the schedule said then is taken for today's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What limits and autonomy make of an advice; `at` is empty where nothing would move."""

    autonomy: str
    at: str = ""
    limits: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def words(self) -> str:
        if self.refusal:
            return f"refused: {self.refusal}"
        if not self.at:
            return f"nothing moves (autonomy {self.autonomy!r})"
        moved = "; ".join(LIMITS.get(one, one) for one in self.limits)
        by = f", moved by {moved}" if moved else ""
        return f"{self.at} (autonomy {self.autonomy!r}{by})"

    def as_json(self) -> dict[str, Any]:
        return {
            "autonomy": self.autonomy,
            "at": self.at or None,
            "limits": list(self.limits),
            "refusal": self.refusal,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A cycle decided once more, with what the limits of the schedule make of it, then and now."""

    offline: Offline
    limits_then: Weighed | None
    limits_today: Weighed | None
    notes: tuple[str, ...]

    @property
    def limits_differences(self) -> list[str]:
        return differences(self.limits_then, self.limits_today)

    @property
    def differences(self) -> list[str]:
        """What would be decided otherwise today; empty if nothing."""
        return [*self.offline.today_differences, *self.limits_differences]

    @property
    def sections(self) -> list[Section]:
        return [*telling.sections(self.offline), Section("Limits", tuple(self._limits()))]

    def _limits(self) -> list[str]:
        if self.limits_then is None and self.limits_today is None:
            return ["there is no advice that they could be applied to", *self.notes]
        then = "it was not weighed" if self.limits_then is None else self.limits_then.words
        today = "no advice to apply them to"
        if self.limits_today is not None:
            today = self.limits_today.words
        return [f"then: {then}", f"today: {today}", *self.notes]

    def document(self) -> dict[str, Any]:
        """The whole replay for machines."""
        found = telling.document(self.offline)
        return {
            **found,
            "limits_then": self.limits_then and self.limits_then.as_json(),
            "limits_today": self.limits_today and self.limits_today.as_json(),
            "today_differences": self.differences,
            "is_same": not self.differences,
            "notes": [*found["notes"], *self.notes],
        }


def of_cycle(cycle: Cycle) -> Replay:
    """A replay without a model; raises NothingToReplay."""
    known = recorded.of_cycle(cycle)
    schedule = schedule_of(cycle)
    config, notes = config_of_today(known, schedule)
    found = offline.replay(known, config=config)
    return Replay(
        offline=found,
        limits_then=weighed_then(cycle),
        limits_today=weighed(known, found.today, schedule=schedule, config=config),
        notes=tuple(notes),
    )


def config_of_today(known: Recorded, schedule: Schedule | None) -> tuple[AgentConfig, list[str]]:
    """What the schedule says by now; where it says nothing any more, what it said then."""
    if schedule is None:
        return known.config, [f"the schedule does not exist any more: {AS_IT_WAS}"]
    if schedule.task_type != TASK_TYPE:
        return known.config, [f"the schedule is no agent's any more: {AS_IT_WAS}"]
    try:
        return AgentConfig.model_validate(schedule.task_config), []
    except ValidationError:
        return known.config, [f"the schedule cannot be read any more: {AS_IT_WAS}"]


def weighed(
    known: Recorded, decided: Decided, *, schedule: Schedule | None, config: AgentConfig
) -> Weighed | None:
    """What today's limits would make of an advice at the time at which it was decided about."""
    if decided.advice is None or schedule is None:
        return None
    cycle = known.cycle
    stored = _decision(cycle)
    now = stored.created_at if stored is not None else cycle.completed_at or cycle.updated_at
    as_advised = copy.copy(cycle)
    as_advised.advice = _as_stored(decided.advice, source=decided.source, config=config)
    decision = adoption_advice.decision_of(as_advised, nominal_at=known.nominal_at, now=now)
    autonomy = config.autonomy
    if decision.status == DecisionStatus.REFUSED:
        return Weighed(autonomy=autonomy, refusal=decision.refusal)
    wanted = adoption_advice.read(decision).wanted
    if wanted is None:
        return Weighed(autonomy=autonomy)
    left = adoption_weighing.within_limits(wanted, decision, schedule, now=now)
    if isinstance(left, Refused):
        return Weighed(autonomy=autonomy, refusal=left.reason)
    limits = tuple(one.limit for one in left.notes)
    return Weighed(autonomy=autonomy, at=as_text(left.at), limits=limits)


def differences(before: Weighed | None, after: Weighed | None) -> list[str]:
    """What the limits would do otherwise; nothing where no decision was made."""
    if before is None or after is None:
        return []
    found = []
    if (before.at, before.refusal) != (after.at, after.refusal):
        found.append(f"the limits leave {after.words}, instead of {before.words}")
    elif before.autonomy != after.autonomy:
        found.append(f"the autonomy is {after.autonomy!r} instead of {before.autonomy!r}")
    return found


def _as_stored(advice: Advice, *, source: str, config: AgentConfig) -> dict[str, Any]:
    return {
        "source": source,
        "advice": advice.as_json(),
        "autonomy": config.autonomy,
        "min_interval_ms": config.min_interval_ms,
        "max_interval_ms": config.max_interval_ms,
    }


def weighed_then(cycle: Cycle) -> Weighed | None:
    """What the limits made of it then; None where it never came to that."""
    decision = _decision(cycle)
    if decision is None:
        return None
    at: Sequence[str] = list(decision.clamped.values())
    is_refused = decision.status == DecisionStatus.REFUSED
    if decision.kind != DecisionKind.KEEP and not at and not is_refused:
        return None
    return Weighed(
        autonomy=decision.autonomy,
        at=at[0] if at else "",
        limits=tuple(str(one["limit"]) for one in decision.notes),
        refusal=decision.refusal if is_refused and not at else "",
    )


def _decision(cycle: Cycle) -> ScheduleDecision | None:
    if cycle.decision_id is None:
        return None
    return ScheduleDecision.objects.filter(id=cycle.decision_id).first()


def schedule_of(cycle: Cycle) -> Schedule | None:
    """The schedule of a cycle, as it is now."""
    if cycle.schedule_id is None:
        return None
    return Schedule.objects.filter(id=cycle.schedule_id).select_related("calendar").first()
