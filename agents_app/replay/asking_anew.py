"""The same decision of a cycle asked of a model once more: with its context, within the budgets.

The calls are rows like all others, of the phase `replay` and of no cycle: they count in the budgets
of the day, of the schedule and of the agent, and not in what the cycle has used. Nothing is called
that a plan names, and no schedule hears of an advice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from agents_app import budget
from agents_app.budget import BudgetSpent, Limit
from agents_app.clients import llm
from agents_app.clients.llm_question import Answer, Of, Question
from agents_app.models import Agent, Provider, Tier
from agents_app.models_cycles import Phase
from agents_app.planning import room, validation
from agents_app.planning.asking import Patience, ask_for
from agents_app.planning.contracts import Plan
from agents_app.planning.deciding import AIAgentService
from agents_app.planning.deciding_by_model import ModelService, Thought
from agents_app.planning.judging import Contract
from agents_app.planning.malformed import MalformedResponseError
from agents_app.planning.prompts import Rendered
from agents_app.replay import deciding
from agents_app.replay.deciding import Decided
from agents_app.replay.recorded import Recorded
from agents_app.replay.standards import Standard
from config.env import env
from executions_app import clock, ids

USUAL_TEMPERATURE: Final = 0.2
MOST_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Anew:
    """What another model decides, and what it took. `today`: why that could not be done now."""

    provider: str
    model: str
    decided: Decided
    tokens: int
    usd: Decimal
    today: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        return self.decided.plan is not None


@dataclass(slots=True)
class _Spent:
    tokens: int = 0
    usd: Decimal = Decimal(0)

    def counted(self, ask: Callable[[Question], Answer]) -> Callable[[Question], Answer]:
        def counting(question: Question) -> Answer:
            try:
                answer = ask(question)
            except llm.ModelError as error:
                self.tokens += error.spent_tokens
                self.usd += error.spent_usd
                raise
            self.tokens += answer.spent_tokens
            self.usd += answer.spent_usd
            return answer

        return counting


class _Asker:
    """Thinks by asking one model, which is told and held to what a cycle was."""

    def __init__(
        self, recorded: Recorded, *, provider: Provider, model: str, standard: Standard
    ) -> None:
        cycle = recorded.cycle
        self._provider, self._model = provider, model
        self._of = Of(
            execution_id=cycle.execution_id,
            schedule_id=cycle.schedule_id,
            owner_id=cycle.owner_id,
            agent_id=cycle.agent_id,
        )
        self._patience = Patience(
            most_repairs=env.max_repair_attempts, is_strict=standard.patience.is_strict
        )
        self.spent = _Spent()
        self._ask = self.spent.counted(budget.asking(_limits(self._of, standard)))
        self._temperature = _temperature_of(cycle.agent_id)
        self._deadline = time.monotonic() + MOST_SECONDS

    def think(self, contract: Contract[Any], rendered: Rendered, *, phase: Phase) -> Thought[Any]:
        """A usable answer; raises ModelError, MalformedResponseError and BudgetSpent."""
        del phase
        found = room.found(
            contract.answer_tokens,
            provider=self._provider,
            model=self._model,
            most=env.llm_answer_tokens,
        )
        question = Question(
            provider=self._provider,
            model=self._model,
            messages=rendered.within(found.prompt).messages,
            phase=Phase.REPLAY,
            of=self._of,
            temperature=self._temperature,
            max_tokens=found.answer,
            enough_tokens=found.enough,
            deadline=self._deadline,
            template=rendered.template,
            template_hash=rendered.template_hash,
        )
        product = ask_for(
            contract,
            question=question,
            ask=self._ask,
            mark=llm.mark_malformed,
            patience=self._patience,
        )
        return Thought(value=product.value, tier=Tier.MODEL, notes=product.notes)


def ask(
    recorded: Recorded, *, provider: Provider, model: str, then: Standard, today: Standard
) -> Anew:
    """What `model` decides, told what the model was told then, and held to the same.

    Raises ModelError and BudgetSpent if it cannot be asked for a plan.
    """
    asker = _Asker(recorded, provider=provider, model=model, standard=then)
    decided = _decided(recorded, then, ModelService(asker))
    return Anew(
        provider=provider.name,
        model=model,
        decided=decided,
        tokens=asker.spent.tokens,
        usd=asker.spent.usd,
        today=tuple(_problems_of_today(decided.plan, today)),
    )


def _decided(recorded: Recorded, standard: Standard, by: AIAgentService) -> Decided:
    context = recorded.context
    try:
        planned = by.plan(deciding.plan_request(recorded, standard, context=context))
    except MalformedResponseError as error:
        return Decided(tier=Tier.NONE.value, plan=None, reason=str(error), unknown=str(error))
    decided = Decided(tier=planned.tier.value, plan=planned.plan, notes=planned.notes)
    if recorded.advice is None:
        return decided
    try:
        advised = by.schedule(deciding.schedule_request(recorded, standard, context=context))
    except (MalformedResponseError, llm.ModelError, BudgetSpent) as error:
        return replace(decided, unknown=str(error))
    return replace(decided, advice=advised.advice, source=advised.source)


def _limits(of: Of, standard: Standard) -> tuple[Limit, ...]:
    """Those of every call for the schedule; all calls of one replay together are like a cycle."""
    now, of_schedule = clock.now(), standard.config.budget
    as_a_cycle = Limit(f"replay:{ids.new(now)}", now, of_schedule.tokens_per_cycle)
    return (*budget.limits_of(of, of_schedule, now=now), as_a_cycle)


def _problems_of_today(plan: Plan | None, today: Standard) -> list[str]:
    if plan is None:
        return []
    found: list[Any] = validation.plan_problems(plan, rights=today.rights, limits=today.limits)
    return [str(one) for one in found]


def _temperature_of(agent_id: UUID | None) -> float:
    found = None
    if agent_id is not None:
        found = Agent.objects.filter(id=agent_id).values_list("temperature", flat=True).first()
    return USUAL_TEMPERATURE if found is None else float(found)
