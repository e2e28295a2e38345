"""What a person writes into a schedule whose work an AI plans: its goal, and how far it may go."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from executions_app.api.names import snake

MOST_ENDPOINTS: Final = 20
MOST_TOOLS: Final = 20
YEAR_MS: Final = 366 * 86_400_000
OBJECTS: Final = ("budget", "prompt_optimization")
"""Those in a config whose names are ours, too."""

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Budget(BaseModel):
    """What a cycle may use of tokens, a day of money, and what happens once that is spent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens_per_cycle: Annotated[int, Field(ge=1)] | None = None
    usd_per_day: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=4)] | None = None
    when_spent: Literal["deterministic", "skip", "cheaper", "pause"] = "deterministic"


class PromptOptimization(BaseModel):
    """How much of the past a prompt may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_messages: Annotated[int, Field(ge=0, le=200)] = 20
    max_endpoint_usage: Annotated[int, Field(ge=0, le=200)] = 20
    max_tokens: Annotated[int, Field(ge=500, le=200_000)] = 8_000


class AgentConfig(BaseModel):
    """`task_config` of an `agent` schedule; every limit in it stands above what the AI says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    goal: Annotated[str, Field(min_length=1, max_length=10_000)]
    agent: Name | None = None
    capabilities: Annotated[list[Name], Field(max_length=20)] = []
    endpoints: Annotated[list[Name], Field(max_length=MOST_ENDPOINTS)] = []
    tools: Annotated[list[Name], Field(max_length=MOST_TOOLS)] = []
    strategy: Literal["auto", "sequential", "parallel", "dependency"] = "auto"
    max_parallel: Annotated[int, Field(ge=1, le=50)] = 5
    autonomy: Literal["off", "shadow", "propose", "auto"] = "off"
    approve_plan: Literal["never", "always", "unsafe"] = "never"
    strict: bool = False
    analyse: bool = False
    min_interval_ms: Annotated[int, Field(ge=1_000, le=YEAR_MS)] = 60_000
    max_interval_ms: Annotated[int, Field(ge=1_000, le=YEAR_MS)] = 86_400_000
    fallback: Literal["adaptive", "interval", "last_good"] = "adaptive"
    fallback_interval_ms: Annotated[int, Field(ge=1_000, le=YEAR_MS)] | None = None
    budget: Budget = Budget()
    prompt_optimization: PromptOptimization = PromptOptimization()

    @model_validator(mode="after")
    def _has_something_to_do(self) -> Self:
        if not self.endpoints and not self.tools:
            raise ValueError("Name at least one endpoint or tool: an agent calls nothing else")
        if self.min_interval_ms > self.max_interval_ms:
            raise ValueError("min_interval_ms must not be longer than max_interval_ms")
        if self.fallback_interval_ms is not None and self.fallback != "interval":
            raise ValueError("fallback_interval_ms goes with fallback 'interval' alone")
        return self


def in_our_spelling(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as it is stored: with the names in its objects in snake_case.

    What names something in both spellings stays as it is, and is refused.
    """
    spelled = dict(config)
    for name in OBJECTS:
        if isinstance(given := spelled.get(name), dict):
            ours = {snake(key): value for key, value in given.items()}
            spelled[name] = ours if len(ours) == len(given) else given
    return spelled
