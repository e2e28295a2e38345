"""What a cycle has cost so far: tokens and money, and what it took of the machines that it ran on.

Tokens and money are summed from the rows of its calls, failed ones too; the rest from its stages
and steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from agents_app.models import Cycle, ModelCall
from executions_app.ledger import Claimed, Usage
from executions_app.models import Step


def totals(cycle: Cycle) -> dict[str, Any]:
    """The columns of the cycle's row that say it."""
    calls = ModelCall.objects.filter(execution_id=cycle.execution_id, cycle_id=cycle.id)
    sums = calls.aggregate(
        prompt=Sum("prompt_tokens"), completion=Sum("completion_tokens"), usd=Sum("cost_usd")
    )
    return {
        "prompt_tokens": sums["prompt"] or 0,
        "completion_tokens": sums["completion"] or 0,
        "cost_usd": sums["usd"] or Decimal(0),
    }


def usage_with(cycle: Cycle, stage: Usage) -> dict[str, Any]:
    """The column of the cycle's row that says what its stages took, with one more."""
    known = [Usage(**cycle.usage)] if cycle.usage else []
    return {"usage": Usage.together([*known, stage])._asdict()}


def measured(cycle: Cycle, held: Claimed, steps: Iterable[Step] | None = None) -> Claimed:
    """Its execution, with what all of the cycle took; as it is if that is unknown.

    `steps`: all of its steps as they ended, where the caller has them.
    """
    if steps is None:
        steps = Step.objects.filter(execution_id=cycle.execution_id).only("usage")
    parts = [cycle.usage, *(one.usage for one in steps)]
    known = [Usage(**one) for one in parts if one]
    return replace(held, usage=Usage.together(known)) if known else held
