"""A model plans an execution, and says when it runs next: asked through whatever `Thinks`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from agents_app.models import Tier
from agents_app.models_cycles import Phase
from agents_app.planning import prompts
from agents_app.planning.deciding import (
    Advised,
    AIAgentService,
    Planned,
    PlanRequest,
    ScheduleRequest,
)
from agents_app.planning.judging import AdviceContract, Contract, PlanContract
from agents_app.planning.prompts import Material, Rendered

SOURCE: Final = "model"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thought(Generic[T]):
    """A usable answer; `tier` says whether the first provider gave it."""

    value: T
    tier: Tier
    notes: tuple[str, ...] = ()


class Thinks(Protocol):
    """Asks a model for what a contract says; raises NoModel. The `Thinker` of a cycle is one."""

    def think(self, contract: Contract[Any], rendered: Rendered, *, phase: Phase) -> Thought[Any]:
        """A usable answer, and who gave it."""


class ModelService(AIAgentService):
    """Asks a model. Raises NoModel if there is none, or none of its answers can be used."""

    def __init__(self, thinker: Thinks) -> None:
        self._thinker = thinker

    def plan(self, request: PlanRequest) -> Planned:
        contract = PlanContract(rights=request.rights, limits=request.limits)
        material = Material(
            analysis=request.analysis.as_json() if request.analysis else None,
            most_steps=request.limits.most_steps,
        )
        rendered = prompts.messages_for(
            Phase.PLAN.value, request.context, limits=request.bounds, material=material
        )
        thought = self._thinker.think(contract, rendered, phase=Phase.PLAN)
        is_others = thought.tier is Tier.OTHER_PROVIDER
        return Planned(
            plan=thought.value,
            tier=thought.tier,
            reason=thought.notes[0] if is_others and thought.notes else "",
            notes=thought.notes,
        )

    def schedule(self, request: ScheduleRequest) -> Advised:
        contract = AdviceContract(limits=request.limits)
        material = Material(summary=request.summary, outcome=request.outcome)
        rendered = prompts.messages_for(
            Phase.SCHEDULE.value, request.context, limits=request.bounds, material=material
        )
        thought = self._thinker.think(contract, rendered, phase=Phase.SCHEDULE)
        return Advised(advice=thought.value, source=SOURCE, notes=thought.notes)
