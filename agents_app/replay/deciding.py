"""What a cycle would decide of its stored answers, held to one standard: plan, tier and advice.

It goes the way of every cycle, a model first and what stands in for it after; only who thinks is
another: it says what has been said already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from agents_app import tiers
from agents_app.cycle import deciders
from agents_app.models import Tier
from agents_app.models_cycles import Phase
from agents_app.planning.contracts import Advice, Plan
from agents_app.planning.deciding import AIAgentService, NoModel, PlanRequest, ScheduleRequest
from agents_app.planning.deciding_by_model import Thought
from agents_app.planning.fallback import Trouble
from agents_app.planning.fallback_timing import PastOutcome
from agents_app.planning.job_context import JobContext
from agents_app.planning.judging import Contract
from agents_app.planning.prompts import Rendered
from agents_app.replay import answers
from agents_app.replay.recorded import Recorded
from agents_app.replay.standards import Standard
from executions_app.states import StepStatus

UNASKED: Final = "the model would be asked when to run next, and what it would say is not stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was or would be decided. `unknown`: why nothing can be said of the advice, if so."""

    tier: str
    plan: Plan | None
    reason: str = ""
    notes: tuple[str, ...] = ()
    advice: Advice | None = None
    source: str = ""
    unknown: str = ""


class Recollection:
    """Thinks what the models of a cycle have said; raises NoModel where they said nothing good.

    `trouble`: what is the matter with the model from the start, if something is.
    """

    def __init__(
        self, recorded: Recorded, standard: Standard, *, trouble: Trouble | None = None
    ) -> None:
        self._recorded, self._standard, self._trouble = recorded, standard, trouble

    def think(self, contract: Contract[Any], rendered: Rendered, *, phase: Phase) -> Thought[Any]:
        """The first stored answer of a phase that will do."""
        del rendered
        if self._trouble is not None:
            raise NoModel(self._trouble, self._recorded.cycle.tier_reason)
        asked = self._recorded.askings[phase]
        played = answers.play(asked, contract, patience=self._standard.patience)
        if played.value is None:
            cycle = self._recorded.cycle
            trouble = self._recorded.trouble or played.trouble or Trouble.DOWN
            raise NoModel(trouble, played.reason or cycle.tier_reason or "no answer is stored")
        tier = self._tier(phase, played.provider)
        return Thought(value=played.value, tier=tier, notes=played.notes)

    def _tier(self, phase: Phase, provider: str) -> Tier:
        """Who that was: the provider that was asked first is that of the agent."""
        asked, tier = self._recorded.askings[phase], self._recorded.cycle.tier
        if provider == asked[-1].who[0] and tier in tiers.BY_A_MODEL:
            return Tier(tier)
        return Tier.MODEL if provider == asked[0].who[0] else Tier.OTHER_PROVIDER


def stored(recorded: Recorded) -> Decided:
    """What was decided, as its row says."""
    cycle = recorded.cycle
    return Decided(
        tier=cycle.tier,
        plan=recorded.plan,
        reason=cycle.tier_reason,
        notes=tuple(str(one) for one in cycle.notes),
        advice=recorded.advice,
        source=str((cycle.advice or {}).get("source", "")),
    )


def anew(recorded: Recorded, standard: Standard) -> Decided:
    """What would be decided of the same answers by this standard."""
    context = _as_limited(recorded.context, standard)
    decider = _decider(recorded, standard, context=context)
    planned = decider.plan(plan_request(recorded, standard, context=context))
    decided = Decided(
        tier=planned.tier.value,
        plan=planned.plan,
        reason=planned.reason if planned.trouble else "",
        notes=planned.notes,
    )
    # What a spent budget brings about is known without asking anybody.
    was_asked = recorded.advice is not None or deciders.is_to_pause(
        standard.config, planned.trouble
    )
    is_asked = deciders.is_to_advise(standard.config, planned.trouble)
    if not (was_asked and is_asked and recorded.cycle.schedule_id):
        return replace(decided, unknown=UNASKED if is_asked and not was_asked else "")
    if planned.trouble is None and recorded.cycle.tier not in tiers.BY_A_MODEL:
        return replace(decided, unknown=UNASKED)
    decider = _decider(recorded, standard, context=context, trouble=planned.trouble)
    advised = decider.schedule(schedule_request(recorded, standard, context=context))
    return replace(decided, advice=advised.advice, source=advised.source)


def plan_request(recorded: Recorded, standard: Standard, *, context: JobContext) -> PlanRequest:
    """What the plan of a cycle is asked for with."""
    return PlanRequest(
        context=context,
        rights=standard.rights,
        limits=standard.limits,
        bounds=standard.config.prompt_optimization,
        parameters=recorded.parameters,
        analysis=recorded.analysis,
    )


def schedule_request(
    recorded: Recorded, standard: Standard, *, context: JobContext
) -> ScheduleRequest:
    """What its advice is asked for with: at the time at which it was asked for."""
    return ScheduleRequest(
        context=replace(context, now=standard.advises_at),
        limits=standard.advice_limits,
        bounds=standard.config.prompt_optimization,
        summary=recorded.cycle.summary,
    )


def _decider(
    recorded: Recorded,
    standard: Standard,
    *,
    context: JobContext,
    trouble: Trouble | None = None,
) -> AIAgentService:
    failed = any(one["status"] == StepStatus.FAILED for one in recorded.results)
    return deciders.of(
        recorded.cycle,
        standard.config,
        Recollection(recorded, standard, trouble=trouble),
        context=context,
        this=PastOutcome(is_good=not failed),
    )


def _as_limited(context: JobContext, standard: Standard) -> JobContext:
    """The context with the limits of the standard, which what stands in for a model goes by."""
    config = standard.config
    job = replace(
        context.job,
        min_interval_ms=config.min_interval_ms,
        max_interval_ms=config.max_interval_ms,
    )
    return replace(context, job=job)
