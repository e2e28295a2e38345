"""Everything that is known of one cycle, in few queries: for the API and for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from agents_app.cycle import approval_rows
from agents_app.models import Agent, Cycle, ModelCall
from agents_app.models_cycles import Phase
from agents_app.tiers import Tiered
from executions_app.models import Step
from executions_app.shapes import MILLISECOND

STAGES: Final = ("plan", "execute", "summarise", "schedule")
MOST_CALLS: Final = 500
MOST_STEPS: Final = 1_000
SHOWN_OF_CYCLES: Final = (
    "id", "execution_id", "schedule_id", "status", "stage", "tier_reason", "strategy",
    "concurrency", "wave", "waves", "analysis", "plan", "summary", "notes", "prompt_tokens",
    "completion_tokens", "cost_usd", "advice", "redriven", "started_at", "completed_at",
)  # fmt: skip
SHOWN_OF_CALLS: Final = (
    "id", "phase", "provider", "model", "attempt", "is_repair", "status", "failure_class",
    "failure", "malformed_class", "problems", "prompt_tokens", "completion_tokens",
    "is_estimated", "cost_usd", "latency_ms", "first_token_ms", "mode", "template",
    "template_hash", "created_at",
)  # fmt: skip
SHOWN_OF_STEPS: Final = (
    "id", "position", "wave", "name", "status", "reason", "error_class", "attempt", "is_critical",
    "depends_on", "queued_at", "started_at", "completed_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Story:
    """A cycle with its steps in order and its calls of models, the oldest first."""

    cycle: Cycle
    agent: str | None
    steps: list[Step]
    calls: list[ModelCall]

    @property
    def tiered(self) -> Tiered:
        return Tiered(self.cycle.tier, self.cycle.tier_reason)

    @property
    def repairs(self) -> int:
        return sum(one.is_repair for one in self.calls)

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The stages that have ended, in order, each with how long it took."""
        timings = self.cycle.timings
        names = [*STAGES, *sorted(set(timings).difference(STAGES))]
        return [{"name": one, "duration_ms": timings[one]} for one in names if one in timings]


def of_execution(execution_id: UUID) -> Story | None:
    """The story of an execution that has a cycle."""
    cycle = Cycle.objects.filter(execution_id=execution_id).defer("context").first()
    if cycle is None:
        return None
    agent = None
    if cycle.agent_id is not None:
        agent = Agent.objects.filter(id=cycle.agent_id).values_list("name", flat=True).first()
    rows = ModelCall.objects.filter(execution_id=execution_id).exclude(phase=Phase.REPLAY)
    calls = rows.defer("request", "response", "grounds")
    return Story(cycle, agent, steps(execution_id), list(calls.order_by("id")[:MOST_CALLS]))


def steps(execution_id: UUID) -> list[Step]:
    """The steps of an execution in the order of its plan."""
    rows = Step.objects.filter(execution_id=execution_id).order_by("position", "id")
    return list(rows[:MOST_STEPS])


def document(story: Story) -> dict[str, Any]:
    """The REST object of a cycle; what became of its advice is known above."""
    cycle = story.cycle
    return {
        **{name: getattr(cycle, name) for name in SHOWN_OF_CYCLES},
        "agent": None if cycle.agent_id is None else {"id": cycle.agent_id, "name": story.agent},
        "stages": story.stages,
        "tier": cycle.tier or None,
        "is_lower_tier": story.tiered.is_lower,
        "approval": _approval(cycle),
        "steps": [step(one) for one in story.steps],
        "calls": [call(one) for one in story.calls],
        "repairs": story.repairs,
    }


def _approval(cycle: Cycle) -> dict[str, Any] | None:
    latest = approval_rows.latest(cycle.execution_id)
    if latest is None:
        return None
    return {"id": latest.id, "status": latest.status, "expires_at": latest.expires_at}


def step(row: Step) -> dict[str, Any]:
    """One step as REST shows it; its result stands with the steps alone."""
    shown = {name: getattr(row, name) for name in SHOWN_OF_STEPS}
    length = None
    if row.started_at is not None and row.completed_at is not None:
        length = (row.completed_at - row.started_at) // MILLISECOND
    return {**shown, "duration_ms": length}


def call(row: ModelCall) -> dict[str, Any]:
    """One call of a model as REST shows it, without what was said."""
    return {name: getattr(row, name) for name in SHOWN_OF_CALLS}
