"""What a cycle has cost so far, summed from the rows of its calls, failed ones too."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db.models import Sum

from agents_app.models import Cycle, ModelCall


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
