"""What the steps of a cycle came to, as the stages after them tell a model, or a person."""

from __future__ import annotations

from typing import Any

from agents_app.models import Cycle
from executions_app.models import Step
from executions_app.states import StepStatus


def results(cycle: Cycle) -> list[dict[str, Any]]:
    """One object per step, in the order of the plan."""
    found = Step.objects.filter(execution_id=cycle.execution_id).order_by("position")
    return [
        {
            "step": one.config.get("plan_id", one.name),
            "name": one.name,
            "status": one.status,
            **({"result": one.result} if one.result is not None else {"reason": one.reason}),
        }
        for one in found
    ]


def in_words(found: list[dict[str, Any]]) -> str:
    """A summary that needs no model: how many ended how, and what did not end well."""
    if not found:
        return "Nothing was called."
    done = sum(one["status"] == StepStatus.COMPLETED for one in found)
    text = f"{done} of {len(found)} steps completed."
    badly = [one for one in found if one["status"] != StepStatus.COMPLETED]
    if badly:
        text += " " + "; ".join(f"{one['name']}: {one['status']}" for one in badly[:10]) + "."
    return text
