"""A model first, and what stands in for it where it does not decide: the way of every cycle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from agents_app.planning.deciding import (
    Advised,
    AIAgentService,
    NoModel,
    Planned,
    PlanRequest,
    ScheduleRequest,
)
from agents_app.planning.fallback import Trouble

Decided = TypeVar("Decided", Planned, Advised)


class LadderService(AIAgentService):
    """`stand_in`: who decides instead, by what is the matter with the model. Never NoModel."""

    def __init__(
        self, model: AIAgentService, *, stand_in: Callable[[Trouble], AIAgentService]
    ) -> None:
        self._model = model
        self._stand_in = stand_in

    def plan(self, request: PlanRequest) -> Planned:
        planned, error = self._first(lambda one: one.plan(request))
        return replace(planned, reason=f"{planned.reason}: {error.reason}") if error else planned

    def schedule(self, request: ScheduleRequest) -> Advised:
        advised, error = self._first(lambda one: one.schedule(request))
        if error is None:
            return advised
        note = f"The model did not say when to run next: {error.reason}"
        return replace(advised, notes=(note, *advised.notes))

    def _first(self, decide: Callable[[AIAgentService], Decided]) -> tuple[Decided, NoModel | None]:
        """What the model decides; else what stands in for it does, and why."""
        try:
            return decide(self._model), None
        except NoModel as error:
            return decide(self._stand_in(error.trouble)), error
