"""Asks a model for one thing in a cycle: its agent's provider first, then those that stand in.

Says who answered (`tier`), or why nobody did (`NoModel`), so that a stage can go down the ladder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, TypeVar

from agents_app import budget, connections, embedding, health
from agents_app.agent_config import AgentConfig
from agents_app.budget import BudgetSpent
from agents_app.clients import llm
from agents_app.clients.llm_question import Of, Question
from agents_app.cycle import got_over
from agents_app.cycle.keeping import Work
from agents_app.memory import Embed
from agents_app.models import Agent, Cycle, Provider, Tier
from agents_app.models_cycles import Phase
from agents_app.planning import room
from agents_app.planning.asking import Patience, Product, ask_for
from agents_app.planning.deciding import NoModel
from agents_app.planning.deciding_by_model import Thought
from agents_app.planning.fallback import Trouble
from agents_app.planning.judging import Contract
from agents_app.planning.malformed import MalformedResponseError
from agents_app.planning.prompts import Rendered
from config.env import env
from errors_app.taxonomy import HandlerError
from executions_app import clock

T = TypeVar("T")
ROOM_FOR_THE_REST: Final = 0.5  # of the time that is left: the calls of the plan need some, too

logger = logging.getLogger(__name__)


class Thinker:
    """The model of a cycle's agent, for as long as a process carries out one of its stages."""

    def __init__(self, cycle: Cycle, config: AgentConfig, work: Work, *, request_id: str) -> None:
        self._cycle, self._config, self._work = cycle, config, work
        self._request_id = request_id
        self._agent = (
            Agent.objects.select_related("provider").filter(id=cycle.agent_id).first()
            if cycle.agent_id
            else None
        )

    @property
    def agent(self) -> Agent | None:
        """Who thinks; None if the cycle has nobody."""
        return self._agent

    @property
    def embed(self) -> Embed | None:
        """What makes vectors of texts, where a model for that is configured."""
        if self._agent is None:
            return None
        of = self._of(self._agent)
        return embedding.embedder(
            self._agent.provider,
            limits=budget.limits_of(of, self._config.budget, now=clock.now()),
            of=of,
            check=self._work.check,
        )

    def think(self, contract: Contract[T], rendered: Rendered, *, phase: Phase) -> Thought[T]:
        """What a model makes of it; raises NoModel, and what ends the execution."""
        if self._agent is None:
            reason = self._cycle.tier_reason or "there is no agent"
            is_anybody = Agent.objects.filter(enabled=True).exists()
            raise NoModel(Trouble.NO_AGENT if is_anybody else Trouble.SWITCHED_OFF, reason)
        with got_over.noted(self._cycle, phase=phase) as failed:
            return self._first_thought(self._agent, contract, rendered, phase=phase, failed=failed)

    def _first_thought(
        self,
        agent: Agent,
        contract: Contract[T],
        rendered: Rendered,
        *,
        phase: Phase,
        failed: dict[str, HandlerError],
    ) -> Thought[T]:
        """Of the first provider that has one; `failed` takes why others have none, by name."""
        for provider in health.to_ask(agent.provider):
            is_first = provider.id == agent.provider_id
            try:
                product = self._ask(provider, contract, rendered, phase=phase)
            except BudgetSpent as error:
                raise NoModel(Trouble.BUDGET_SPENT, str(error)) from None
            except (llm.ModelError, MalformedResponseError) as error:
                logger.warning("%s of cycle %s: %s", phase, self._cycle.id, error)
                failed[provider.name] = error
                continue
            return Thought(
                value=product.value,
                tier=Tier.MODEL if is_first else Tier.OTHER_PROVIDER,
                notes=(*_reasons(failed), *product.notes),
            )
        raise _nobody(agent, failed)

    def _ask(
        self, provider: Provider, contract: Contract[T], rendered: Rendered, *, phase: Phase
    ) -> Product[T]:
        assert self._agent is not None
        model = self._model_of(provider, self._agent)
        question = partial(self._question, self._agent, contract, rendered, phase=phase)
        connections.let_go()
        try:
            return self._ask_within(provider, contract, question(provider, model))
        except BudgetSpent:
            cheaper = self._cheaper(provider, model)
            if cheaper is None:
                raise
            return self._ask_within(provider, contract, question(provider, cheaper))

    def _cheaper(self, provider: Provider, model: str) -> str | None:
        """The cheapest model of a provider, if the schedule wants that once its budget is spent."""
        if self._config.budget.when_spent != "cheaper":
            return None
        price = {str(one.get("name")): _price(one) for one in provider.models}
        best = min(price, key=lambda name: price[name], default=None)
        if best is None or model not in price or price[best] >= price[model]:
            return None
        return best

    def _ask_within(
        self, provider: Provider, contract: Contract[T], question: Question
    ) -> Product[T]:
        try:
            product = ask_for(
                contract,
                question=question,
                ask=budget.asking(
                    budget.limits_of(question.of, self._config.budget, now=clock.now())
                ),
                mark=llm.mark_malformed,
                patience=Patience(
                    most_repairs=env.max_repair_attempts, is_strict=self._config.strict
                ),
            )
        except (llm.ModelError, MalformedResponseError) as error:
            self._tell_health(provider, error)
            raise
        self._tell_health(provider, None)
        return product

    def _tell_health(self, provider: Provider, error: Exception | None) -> None:
        assert self._agent is not None
        try:
            health.asked(self._agent, provider, error=error)
        finally:
            connections.let_go()

    def _question(
        self,
        agent: Agent,
        contract: Contract[T],
        rendered: Rendered,
        provider: Provider,
        model: str,
        *,
        phase: Phase,
    ) -> Question:
        """As long as `model` holds: the prompt, and the answer that it may give."""
        found = room.found(
            contract.answer_tokens, provider=provider, model=model, most=env.llm_answer_tokens
        )
        return Question(
            provider=provider,
            model=model,
            messages=rendered.within(found.prompt).messages,
            phase=phase,
            of=self._of(agent),
            temperature=agent.temperature,
            max_tokens=found.answer,
            enough_tokens=found.enough,
            deadline=self._work.ends_at - self._work.seconds_left() * ROOM_FOR_THE_REST,
            template=rendered.template,
            template_hash=rendered.template_hash,
            check=self._work.check,
        )

    def _of(self, agent: Agent) -> Of:
        return Of(
            execution_id=self._cycle.execution_id,
            cycle_id=self._cycle.id,
            schedule_id=self._cycle.schedule_id,
            owner_id=self._cycle.owner_id,
            agent_id=agent.id,
            request_id=self._request_id,
        )

    @staticmethod
    def _model_of(provider: Provider, agent: Agent) -> str:
        """The agent's model; another provider's first one where that does not offer it."""
        offered = [str(one.get("name")) for one in provider.models]
        if provider.id == agent.provider_id or agent.model in offered or not offered:
            return agent.model
        return offered[0]


def _price(model: Mapping[str, Any]) -> float:
    return float(model.get("usd_per_1m_input") or 0) + float(model.get("usd_per_1m_output") or 0)


def _nobody(agent: Agent, failed: Mapping[str, HandlerError]) -> NoModel:
    if not failed:
        name = agent.provider.name
        return NoModel(Trouble.DOWN, f"the provider {name!r} is left out or switched off")
    return NoModel(_trouble(next(iter(failed.values()))), "; ".join(_reasons(failed)))


def _reasons(failed: Mapping[str, HandlerError]) -> list[str]:
    return [f"{name}: {error}" for name, error in failed.items()]


def _trouble(error: Exception) -> Trouble:
    if isinstance(error, llm.ModelNotConfigured):
        return Trouble.SWITCHED_OFF
    return Trouble.MALFORMED if isinstance(error, MalformedResponseError) else Trouble.DOWN
