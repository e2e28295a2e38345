"""The last stage: when the schedule should run next, as the model or a fallback would have it.

It is advice only: the next run stands already, by the schedule's own rule, and the scheduler
decides what becomes of the advice. Whatever goes wrong here changes nothing that was done.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents_app.agent_config import AgentConfig
from agents_app.cycle import holder, material
from agents_app.cycle.keeping import Work
from agents_app.cycle.summarising import ASKED_TIERS
from agents_app.cycle.thinking import NoModel, Thinker
from agents_app.models import Cycle
from agents_app.models_cycles import Phase
from agents_app.planning import context as contexts
from agents_app.planning import fallback, fallback_timing, prompts
from agents_app.planning.contracts import Advice, written
from agents_app.planning.fallback import FallbackConfig, Standby, Trouble
from agents_app.planning.fallback_timing import PastOutcome
from agents_app.planning.job_context import JobContext
from agents_app.planning.judging import AdviceContract
from agents_app.planning.prompts import Material
from agents_app.planning.validation import AdviceLimits
from executions_app import clock
from executions_app.states import StepStatus


def advise(cycle: Cycle, work: Work) -> dict[str, Any]:
    """What changes of the cycle's row; nothing where no advice is wanted, or was given before."""
    config = holder.config_of(holder.of(cycle))
    if config.autonomy == "off" or cycle.advice is not None or cycle.schedule_id is None:
        return {}
    try:
        advice, notes = _from_model(cycle, config, work)
        source = "model"
    except NoModel as error:
        advice, source = _from_fallback(cycle, config, error.trouble)
        notes = (f"The model did not say when to run next: {error.reason}",)
    told = {
        "source": source,
        "advice": advice.as_json(),
        "autonomy": config.autonomy,
        "min_interval_ms": config.min_interval_ms,
        "max_interval_ms": config.max_interval_ms,
        "proposed_at": written(clock.now()),
    }
    return {"advice": told, "notes": [*cycle.notes, *notes]}


def _from_model(cycle: Cycle, config: AgentConfig, work: Work) -> tuple[Advice, tuple[str, ...]]:
    if cycle.tier not in ASKED_TIERS:
        raise NoModel(Trouble(cycle.trouble or Trouble.DOWN), cycle.tier_reason)
    now = clock.now()
    limits = AdviceLimits(
        now=now,
        min_interval_ms=config.min_interval_ms,
        max_interval_ms=config.max_interval_ms,
        is_strict=config.strict,
    )
    contract = AdviceContract(limits=limits)
    rendered = prompts.messages_for(
        "schedule",
        replace(JobContext.from_json(cycle.context), now=now),
        limits=config.prompt_optimization,
        material=Material(
            results=material.results(cycle),
            summary=cycle.summary,
        ),
    )
    thought = Thinker(cycle, config, work).think(contract, rendered, phase=Phase.SCHEDULE)
    return thought.value, thought.notes


def _from_fallback(cycle: Cycle, config: AgentConfig, trouble: Trouble) -> tuple[Advice, str]:
    statuses = {one["status"] for one in material.results(cycle)}
    earlier = contexts.earlier(cycle)
    situation = fallback_timing.situation(
        JobContext.from_json(cycle.context),
        this=PastOutcome(is_good=StepStatus.FAILED not in statuses),
        last_interval_ms=earlier.interval_ms,
    )
    choice = fallback.choose(
        trouble,
        situation,
        config=FallbackConfig(timing=config.fallback, when_spent=config.budget.when_spent),
        standby=Standby(),
    )
    return fallback.advice(choice, situation)
