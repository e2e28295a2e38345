"""The last stage: when the schedule should run next, as the model or a fallback would have it.

It is advice only: the next run stands already, by the schedule's own rule, and the scheduler
decides what becomes of the advice. Whatever goes wrong here changes nothing that was done.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agents_app.agent_config import AgentConfig
from agents_app.cycle import deciders, holder, material
from agents_app.cycle.keeping import Work
from agents_app.models import Cycle
from agents_app.planning.contracts import written
from agents_app.planning.deciding import Advised, ScheduleRequest
from agents_app.planning.fallback_timing import PastOutcome
from agents_app.planning.job_context import JobContext
from agents_app.planning.validation import AdviceLimits
from executions_app import clock
from executions_app.states import StepStatus


def advise(cycle: Cycle, work: Work) -> dict[str, Any]:
    """What changes of the cycle's row; nothing where no advice is wanted, or was given before."""
    held = holder.of(cycle)
    config = holder.config_of(held)
    is_wanted = deciders.is_to_advise(config, cycle.trouble)
    if not is_wanted or cycle.advice is not None or cycle.schedule_id is None:
        return {}
    advised = _advised(cycle, config, work, request_id=holder.request_id(held))
    told = {
        "source": advised.source,
        "advice": advised.advice.as_json(),
        "autonomy": config.autonomy,
        "min_interval_ms": config.min_interval_ms,
        "max_interval_ms": config.max_interval_ms,
        "proposed_at": written(clock.now()),
    }
    return {"advice": told, "notes": [*cycle.notes, *advised.notes]}


def _advised(cycle: Cycle, config: AgentConfig, work: Work, *, request_id: str) -> Advised:
    context = JobContext.from_json(cycle.context)
    statuses = {one["status"] for one in material.results(cycle)}
    decider = deciders.of(
        cycle,
        config,
        deciders.after_plan(cycle, config, work, request_id=request_id),
        context=context,
        this=PastOutcome(is_good=StepStatus.FAILED not in statuses),
    )
    now = clock.now()
    request = ScheduleRequest(
        context=replace(context, now=now),
        limits=AdviceLimits(
            now=now,
            min_interval_ms=config.min_interval_ms,
            max_interval_ms=config.max_interval_ms,
            is_strict=config.strict,
        ),
        bounds=config.prompt_optimization,
        summary=cycle.summary,
    )
    return decider.schedule(request)
