"""How good the plan of an execution was: shown wherever the execution is, so that nothing passes
for the work of a model that is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from agents_app.models import Cycle, Tier
from executions_app.models import Execution

TASK_TYPE: Final = "agent"
WORDS: Final[Mapping[str, str]] = {
    Tier.NONE: "not planned yet",
    Tier.MODEL: "planned by the model",
    Tier.OTHER_PROVIDER: "planned by another provider's model",
    Tier.LAST_GOOD: "without a model: the last good plan",
    Tier.DETERMINISTIC: "without a model: all endpoints in their order",
    Tier.BASELINE: "without a model: nothing but the schedule's own timing",
}
FULL: Final = frozenset({Tier.NONE.value, Tier.MODEL.value})
"""Nothing to tell: the model that should plan did, or nobody has planned yet."""
BY_A_MODEL: Final = frozenset({Tier.MODEL.value, Tier.OTHER_PROVIDER.value})
"""A model made the plan, so it is asked in the later stages, too."""
OF_A_MODEL: Final = BY_A_MODEL | {Tier.LAST_GOOD.value}
"""The plan is a model's, be it that of an earlier run: what went well is worth doing again."""


@dataclass(frozen=True, slots=True)
class Tiered:
    """The tier of one execution, and why it is no better one."""

    tier: str
    reason: str

    @property
    def is_lower(self) -> bool:
        """True if this was not planned by the model that should have."""
        return self.tier not in FULL

    @property
    def words(self) -> str:
        return WORDS.get(self.tier, self.tier)

    @property
    def sentence(self) -> str:
        """The same with its reason."""
        return f"{self.words}; {self.reason}" if self.reason else self.words


def of(executions: Iterable[Execution]) -> dict[UUID, Tiered]:
    """Of each that has a cycle. One query, and none where no execution is an agent's."""
    asked = [one.id for one in executions if one.snapshot.get("task_type") == TASK_TYPE]
    if not asked:
        return {}
    rows = Cycle.objects.filter(execution_id__in=asked)
    found = rows.values_list("execution_id", "tier", "tier_reason")
    return {execution_id: Tiered(tier, reason) for execution_id, tier, reason in found}
