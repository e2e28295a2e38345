"""The third stage: what came of the steps, in a short text; from the model if it planned them."""

from __future__ import annotations

from agents_app import tiers
from agents_app.cycle import holder, material
from agents_app.cycle.keeping import Work
from agents_app.cycle.thinking import Thinker
from agents_app.models import Cycle
from agents_app.models_cycles import Phase
from agents_app.planning import prompts
from agents_app.planning.deciding import NoModel
from agents_app.planning.job_context import JobContext
from agents_app.planning.judging import SummaryContract
from agents_app.planning.prompts import Material


def summarise(cycle: Cycle, work: Work) -> tuple[str, tuple[str, ...]]:
    """The summary, and notes on it; never fails for what a model does or does not say."""
    found = material.results(cycle)
    if cycle.tier not in tiers.BY_A_MODEL:
        return material.in_words(found), ()
    held = holder.of(cycle)
    config = holder.config_of(held)
    rendered = prompts.messages_for(
        "summarise",
        JobContext.from_json(cycle.context),
        limits=config.prompt_optimization,
        material=Material(results=found, plan_reason=str((cycle.plan or {}).get("reason", ""))),
    )
    try:
        thinker = Thinker(cycle, config, work, request_id=holder.request_id(held))
        thought = thinker.think(SummaryContract(), rendered, phase=Phase.SUMMARISE)
    except NoModel as error:
        return material.in_words(found), (f"The model did not summarise: {error.reason}",)
    return thought.value, ()
