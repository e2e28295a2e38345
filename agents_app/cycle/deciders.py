"""Who plans and advises in a cycle: its model, and what stands in for it, in this order.

Both stages that decide come here, so there is one way down from a model to what does without one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from agents_app import tiers
from agents_app.agent_config import AgentConfig
from agents_app.cycle.keeping import Work
from agents_app.cycle.thinking import Thinker
from agents_app.models import Cycle
from agents_app.models_cycles import Phase
from agents_app.planning import context as contexts
from agents_app.planning import fallback_timing
from agents_app.planning.deciding import AIAgentService, NoModel
from agents_app.planning.deciding_by_fallback import FallbackService
from agents_app.planning.deciding_by_ladder import LadderService
from agents_app.planning.deciding_by_model import ModelService, Thinks, Thought
from agents_app.planning.fallback import DETERMINISTIC, FallbackConfig, Trouble
from agents_app.planning.fallback_timing import PastOutcome
from agents_app.planning.job_context import JobContext
from agents_app.planning.judging import Contract
from agents_app.planning.prompts import Rendered


class Unasked:
    """The model of a cycle that it did not plan: it is not asked for anything else either."""

    def __init__(self, cycle: Cycle) -> None:
        self._trouble = Trouble(cycle.trouble or Trouble.DOWN)
        self._reason = cycle.tier_reason

    def think(self, contract: Contract[Any], rendered: Rendered, *, phase: Phase) -> Thought[Any]:
        """Raises NoModel, for what was the matter when the plan was made."""
        del contract, rendered, phase
        raise NoModel(self._trouble, self._reason)


def is_to_advise(config: AgentConfig, trouble: str | None) -> bool:
    """True if anybody is to say when the schedule runs next, its own rule aside.

    That a spent budget pauses it a person has said: no autonomy has a say in that.
    """
    return config.autonomy != "off" or is_to_pause(config, trouble)


def is_to_pause(config: AgentConfig, trouble: str | None) -> bool:
    """True if there was no budget for a plan, and a person wants a pause then."""
    return trouble == Trouble.BUDGET_SPENT and config.budget.when_spent == "pause"


def after_plan(cycle: Cycle, config: AgentConfig, work: Work, *, request_id: str) -> Thinks:
    """Who thinks in the stages after the plan: whoever made it, if that was a model."""
    if cycle.tier not in tiers.BY_A_MODEL:
        return Unasked(cycle)
    return Thinker(cycle, config, work, request_id=request_id)


def of(
    cycle: Cycle,
    config: AgentConfig,
    thinker: Thinks,
    *,
    context: JobContext,
    this: PastOutcome | None = None,
) -> AIAgentService:
    """Whoever decides for a cycle, by all that is known when it is asked.

    `this`: how the run at hand has gone, once it has.
    """
    stand_in = partial(_stand_in, cycle=cycle, config=config, context=context, this=this)
    return LadderService(ModelService(thinker), stand_in=stand_in)


def _stand_in(
    trouble: Trouble,
    *,
    cycle: Cycle,
    config: AgentConfig,
    context: JobContext,
    this: PastOutcome | None,
) -> FallbackService:
    earlier = contexts.earlier(cycle)
    # What it may still use is not what the next one may: that its plan is made says so.
    has_planned = cycle.tier in tiers.BY_A_MODEL
    return FallbackService(
        trouble,
        situation=fallback_timing.situation(
            context, this=this, last_interval_ms=earlier.interval_ms
        ),
        config=FallbackConfig(
            timing=config.fallback,
            interval_ms=config.fallback_interval_ms,
            when_spent=DETERMINISTIC if has_planned else config.budget.when_spent,
        ),
        earlier=earlier,
    )
