"""Whether a cycle has used far more tokens than those before it: a loop, or a prompt that grew.

What counts as a spike is the default of the alert rules of that kind.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from agents_app.models import Cycle, CycleStatus
from errors_app.alerting.kinds import TokenSpike
from executions_app import events

USUAL: Final = TokenSpike()
UNENDED: Final = (CycleStatus.RUNNING, CycleStatus.WAITING)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Spike:
    """A cycle that stands out; `usual` is the mean of those before it."""

    tokens: int
    usual: float

    @property
    def times(self) -> float:
        return self.tokens / self.usual

    def __str__(self) -> str:
        return f"{self.tokens} tokens were used, {self.times:.1f} times the usual {self.usual:.0f}"


def spike(tokens: int, earlier: Sequence[int]) -> Spike | None:
    """Whether `tokens` is several times the mean of those before (pure).

    Cycles that used none, because no model was asked, say nothing about what is usual.
    """
    telling = [one for one in earlier if one > 0]
    if len(telling) < USUAL.min_cycles or tokens < USUAL.min_tokens:
        return None
    usual = sum(telling) / len(telling)
    return Spike(tokens, usual) if tokens > USUAL.factor * usual else None


def analyse(cycle_id: UUID) -> Spike | None:
    """Look at a cycle whose totals are stored, and tell if it stands out among its schedule's.

    Called once, when the cycle ends: it notes the spike in the cycle and emits `agent:token_spike`.
    """
    cycle = Cycle.objects.filter(id=cycle_id).first()
    if cycle is None or cycle.schedule_id is None:
        return None
    found = spike(cycle.prompt_tokens + cycle.completion_tokens, _earlier(cycle))
    if found is not None:
        _tell(cycle, found)
    return found


def _earlier(cycle: Cycle) -> list[int]:
    rows = Cycle.objects.filter(schedule_id=cycle.schedule_id, id__lt=cycle.id)
    rows = rows.exclude(status__in=UNENDED).order_by("-id")
    return [
        prompt + completion
        for prompt, completion in rows.values_list("prompt_tokens", "completion_tokens")[
            : USUAL.trail
        ]
    ]


def _tell(cycle: Cycle, found: Spike) -> None:
    data: dict[str, Any] = {
        "cycle_id": str(cycle.id),
        "tokens": found.tokens,
        "usual": round(found.usual),
        "times": round(found.times, 1),
        "cost_usd": str(cycle.cost_usd),
    }
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE cycles SET notes = notes || to_jsonb(%s::text), updated_at = now() "
                "WHERE id = %s",
                [f"token spike: {found}", cycle.id],
            )
        told = events.NewEvent(
            type="agent:token_spike",
            topic=f"execution:{cycle.execution_id}",
            data=data,
            owner_id=cycle.owner_id,
            schedule_id=cycle.schedule_id,
            execution_id=cycle.execution_id,
            severity="medium",
        )
        events.emit([told])
        events.announce()
    logger.warning("Cycle %s of schedule %s: %s", cycle.id, cycle.schedule_id, found)
