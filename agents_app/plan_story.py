"""A plan that waits for a person, or has had its answer: what it would do, and what is new in it.

For the API and for the pages. What stands here is read from the rows that would be carried out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from agents_app.cycle import approval_rows, frozen
from agents_app.models import Cycle, CycleStatus, PlanApproval
from agents_app.planning import plan_changes
from agents_app.planning.plan_changes import Compared
from agents_app.tiers import Tiered
from executions_app.models import Execution, Step
from executions_app.states import ApprovalStatus, ExecutionStatus, Outcome
from executions_app.wording import moment

MOST_LOOKED_THROUGH: Final = 50  # cycles before, for one that was carried out


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One call as it would be made. `after` names the steps that come before it."""

    step: Step
    call: str
    parameters: dict[str, Any]
    after: list[str]
    risk: str
    reason: str
    compared: Compared | None

    @property
    def parameters_text(self) -> str:
        return json.dumps(self.parameters, ensure_ascii=False, default=str)

    @property
    def before_text(self) -> str:
        before = self.compared.before if self.compared else {}
        return json.dumps(dict(before), ensure_ascii=False, default=str)


@dataclass(frozen=True, slots=True)
class PlanStory:
    """`dropped`: what the last plan that was carried out called besides; None: there was none."""

    approval: PlanApproval
    cycle: Cycle
    execution: Execution | None
    steps: list[PlannedStep]
    dropped: list[str] | None

    @property
    def plan(self) -> Mapping[str, Any]:
        return self.cycle.plan if isinstance(self.cycle.plan, dict) else {}

    @property
    def tiered(self) -> Tiered:
        return Tiered(self.cycle.tier, self.cycle.tier_reason)


def of(approval: PlanApproval) -> PlanStory:
    """The whole story of one request."""
    cycle = Cycle.objects.defer("context", "analysis").get(id=approval.cycle_id)
    found = frozen.steps(approval.execution_id)
    earlier = _earlier(cycle)
    compared: Sequence[Compared | None] = [None] * len(found)
    dropped = None
    if earlier is not None:
        compared, dropped = plan_changes.compared([one.config for one in found], earlier)
    names = {one.id: one.name for one in found}
    return PlanStory(
        approval,
        cycle,
        executions([approval]).get(approval.execution_id),
        [_planned(one, names, beside) for one, beside in zip(found, compared, strict=True)],
        dropped,
    )


def executions(approvals: Sequence[PlanApproval]) -> dict[UUID, Execution]:
    """The executions of some requests, in one query, without their results."""
    rows = Execution.objects.defer("result", "parameters")
    return rows.in_bulk([one.execution_id for one in approvals])


def name_of(execution: Execution | None) -> str:
    """What the schedule was called when the execution was made."""
    known = None if execution is None else execution.snapshot.get("name")
    return str(known or "unnamed")


def sentence(execution: Execution, *, now: datetime) -> str:
    """What `wording.why` does not know: until when its plan waits, or who said no to it, and why.

    Empty for all others, which costs no query.
    """
    is_refused = execution.outcome == Outcome.REJECTED
    if not is_refused and execution.status != ExecutionStatus.WAITING:
        return ""
    latest = approval_rows.latest(execution.id)
    if latest is None:
        return ""
    if latest.status == ApprovalStatus.WAITING:
        return f"Unless somebody answers, it is given up {moment(latest.expires_at, now=now)}."
    if latest.status != ApprovalStatus.REJECTED:
        return ""
    who = latest.decided_by.get_username() if latest.decided_by else "somebody"
    return f"{who} said: {latest.reason.rstrip('.')}."


def _planned(step: Step, names: Mapping[UUID, str], compared: Compared | None) -> PlannedStep:
    config = step.config
    return PlannedStep(
        step=step,
        call=_call(step),
        parameters=config.get("parameters") or {},
        after=[names.get(one, "?") for one in step.depends_on],
        risk=frozen.risk_of(step.name, config),
        reason=str(config.get("reason") or ""),
        compared=compared,
    )


def _call(step: Step) -> str:
    endpoint = step.config.get("endpoint")
    if step.config.get("target") == "tool" or not endpoint:
        return f"the tool {step.name}"
    return f"{endpoint.get('method', '')} {endpoint.get('url', '')}"


def _earlier(cycle: Cycle) -> list[Mapping[str, Any]] | None:
    """The steps of the last plan of the schedule that was carried out."""
    before = Cycle.objects.filter(schedule_id=cycle.schedule_id, id__lt=cycle.id)
    latest = before.order_by("-id").values("id")[:MOST_LOOKED_THROUGH]
    plans = Cycle.objects.filter(
        id__in=latest, status=CycleStatus.COMPLETED, plan__isnull=False
    ).order_by("-id")
    plan = plans.values_list("plan", flat=True).first()
    steps = plan.get("steps") if isinstance(plan, dict) else None
    return list(steps) if isinstance(steps, list) else None
