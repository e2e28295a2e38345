"""The first stage: a plan, from a model or by the ladder, frozen before any answer is read.

Model, other provider, last good plan, all endpoints in their order: the first that can be carried
out is. Which one it was is the cycle's `tier`, and why, its `tier_reason`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agents_app import calling, connections, tools
from agents_app.agent_config import AgentConfig
from agents_app.cycle import holder
from agents_app.cycle.keeping import Work
from agents_app.cycle.thinking import NoModel, Thinker, Thought
from agents_app.interfaces.errors import PlanFailed
from agents_app.models import Cycle, Endpoint, Tier
from agents_app.models_cycles import Phase
from agents_app.planning import context as contexts
from agents_app.planning import fallback, fallback_timing, prompts, validation
from agents_app.planning.authority import Offer, Rights, grant
from agents_app.planning.contracts import Plan, TaskAnalysis
from agents_app.planning.fallback import FallbackConfig, Standby, Trouble
from agents_app.planning.job_context import EndpointFacts, JobContext
from agents_app.planning.judging import AnalysisContract, PlanContract
from agents_app.planning.prompts import Material
from agents_app.planning.validation import PlanLimits
from config.env import env
from errors_app.taxonomy import ErrorClass
from executions_app import clock, ids, steps
from executions_app.ledger import Claimed


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A plan that is to be carried out, who made it, and of what."""

    plan: Plan | None
    tier: Tier
    tier_reason: str
    trouble: str
    context: JobContext
    analysis: TaskAnalysis | None
    notes: tuple[str, ...]
    endpoints: Mapping[str, Mapping[str, Any]]
    concurrency: int

    def columns(self) -> dict[str, Any]:
        """What the cycle's row keeps of it."""
        return {
            "plan": self.plan.as_json() if self.plan else None,
            "tier": self.tier,
            "tier_reason": self.tier_reason,
            "trouble": self.trouble,
            "context": self.context.as_json(),
            "analysis": self.analysis.as_json() if self.analysis else {},
            "notes": list(self.notes),
            "strategy": self.plan.strategy if self.plan else "",
            "concurrency": self.concurrency,
            "waves": len(validation.waves(self.plan)) if self.plan else 0,
        }


def make(cycle: Cycle, held: Claimed, work: Work) -> Made:
    """The plan of an execution; raises PlanFailed, and what ends the execution."""
    config = holder.config_of(held)
    maker = _Maker(cycle, held, config, work)
    connections.let_go()
    return maker.made()


def store(cycle: Cycle, made: Made) -> None:
    """In the transaction that ends the stage: the steps of the plan."""
    if made.plan is None:
        return
    fresh = ids.stream(clock.now())
    id_of = {step.id: next(fresh) for step in made.plan.steps}
    new: list[steps.NewStep] = []
    for wave, together in enumerate(validation.waves(made.plan)):
        for step in together:
            endpoint = made.endpoints.get(step.name) if step.target == "endpoint" else None
            config = {**step.as_json(), "plan_id": step.id, "endpoint": endpoint}
            new.append(
                steps.NewStep(
                    id=id_of[step.id],
                    position=len(new),
                    wave=wave,
                    name=step.name,
                    config=config,
                    depends_on=[id_of[one] for one in step.depends_on],
                    is_critical=step.critical or bool(endpoint and endpoint.get("critical")),
                )
            )
    steps.plan(cycle.execution_id, new)


class _Maker:
    def __init__(self, cycle: Cycle, held: Claimed, config: AgentConfig, work: Work) -> None:
        self._cycle, self._held, self._config = cycle, held, config
        self._thinker = Thinker(cycle, config, work)
        self._endpoints = {
            one.name: one
            for one in Endpoint.objects.filter(
                owner_id=cycle.owner_id, name__in=config.endpoints, enabled=True
            )
        }
        self._tools = [name for name in config.tools if name in tools.names()]
        self._rights = self._granted()
        self._now = clock.now()
        self._context = contexts.gather(
            cycle, now=self._now, tools=self._suited(), embed=self._thinker.embed
        )
        self._notes: list[str] = [
            f"{kind} {name!r} does not exist or is switched off, and is left out"
            for kind, name in self._missing()
        ]

    def made(self) -> Made:
        analysis = self._analysis()
        try:
            thought = self._thought(analysis)
        except NoModel as error:
            return self._by_the_ladder(error, analysis)
        reason = thought.notes[0] if thought.tier is Tier.OTHER_PROVIDER else ""
        return self._as_made(
            thought.value, tier=thought.tier, reason=reason, analysis=analysis, notes=thought.notes
        )

    def _analysis(self) -> TaskAnalysis | None:
        """What the task needs, where a person wants that looked at first."""
        if not self._config.analyse:
            return None
        rendered = prompts.messages_for(
            "analyse", self._context, limits=self._config.prompt_optimization
        )
        contract = AnalysisContract(tools=self._tools, most_parts=env.max_plan_steps)
        try:
            thought = self._thinker.think(contract, rendered, phase=Phase.ANALYSE)
        except NoModel as error:
            self._notes.append(f"The task was not analysed: {error.reason}")
            return None
        return thought.value

    def _thought(self, analysis: TaskAnalysis | None) -> Thought[Plan]:
        contract = PlanContract(rights=self._rights, limits=self._limits())
        material = Material(
            analysis=analysis.as_json() if analysis else None,
            most_steps=env.max_plan_steps,
        )
        rendered = prompts.messages_for(
            "plan", self._context, limits=self._config.prompt_optimization, material=material
        )
        return self._thinker.think(contract, rendered, phase=Phase.PLAN)

    def _by_the_ladder(self, error: NoModel, analysis: TaskAnalysis | None) -> Made:
        earlier = contexts.earlier(self._cycle)
        choice = fallback.choose(
            error.trouble,
            fallback_timing.situation(self._context, last_interval_ms=earlier.interval_ms),
            config=FallbackConfig(
                timing=self._config.fallback, when_spent=self._config.budget.when_spent
            ),
            standby=self._standby(earlier.plans),
        )
        if choice.plan is None and error.trouble is Trouble.SWITCHED_OFF:
            raise PlanFailed(
                f"There is nothing to call: {error.reason}, and no endpoint of the schedule can be "
                "called without a plan; register its endpoints, or configure a model",
                error_class=ErrorClass.PERMANENT,
            )
        reason = f"{choice.reason}: {error.reason}"
        return self._as_made(
            choice.plan,
            tier=Tier(choice.tier),
            reason=reason,
            trouble=error.trouble,
            analysis=analysis,
        )

    def _standby(self, plans: Sequence[Plan]) -> Standby:
        """The plans that could be carried out without a model."""
        check = partial(validation.plan_problems, rights=self._rights, limits=self._limits())
        return Standby(
            last_good=fallback.last_good_plan(
                plans, self._context.endpoints, tools=self._tools, check=check
            ),
            deterministic=fallback.deterministic_plan(
                self._as_registered(), parameters=self._held.parameters
            ),
        )

    def _as_made(
        self,
        plan: Plan | None,
        *,
        tier: Tier,
        reason: str,
        analysis: TaskAnalysis | None,
        trouble: str = "",
        notes: tuple[str, ...] = (),
    ) -> Made:
        concurrency = min(plan.concurrency, self._config.max_parallel) if plan else 1
        return Made(
            plan=plan,
            tier=tier,
            tier_reason=reason[:2_000],
            trouble=trouble,
            context=self._context,
            analysis=analysis,
            notes=(*self._notes, *notes),
            endpoints={
                name: calling.snapshot_of(one)
                for name, one in self._endpoints.items()
                if plan and any(step.name == name for step in plan.steps)
            },
            concurrency=concurrency,
        )

    def _limits(self) -> PlanLimits:
        return PlanLimits(
            most_steps=env.max_plan_steps,
            most_concurrency=self._config.max_parallel,
            strategy=self._config.strategy,
        )

    def _granted(self) -> Rights:
        offers = [
            *(
                Offer(
                    target="endpoint",
                    name=one.name,
                    schema=one.parameters_schema,
                    side_effect="read" if one.side_effect == "read" else "write",
                )
                for one in self._endpoints.values()
            ),
            *(
                Offer(target="tool", name=name, schema=tools.find(name).schema)
                for name in self._tools
            ),
        ]
        agent = self._thinker.agent
        return grant(
            offers,
            endpoints=self._config.endpoints,
            tools=self._config.tools,
            agent_tools=agent.tools if agent else (),
        )

    def _suited(self) -> list[str]:
        """The tools that are told of: those that suit the goal, else all that may be used."""
        agent = self._thinker.agent
        return tools.suited(
            self._config.goal,
            capabilities=agent.capabilities if agent else (),
            allowed=self._tools,
        ) or list(self._tools)

    def _as_registered(self) -> list[EndpointFacts]:
        """The endpoints in the order in which the schedule names them, as they are called."""
        found = (self._endpoints.get(name) for name in dict.fromkeys(self._config.endpoints))
        return [
            EndpointFacts(
                name=one.name, critical=one.critical, parameters_schema=one.parameters_schema
            )
            for one in found
            if one is not None
        ]

    def _missing(self) -> list[tuple[str, str]]:
        endpoints = [one for one in self._config.endpoints if one not in self._endpoints]
        missing = [one for one in self._config.tools if one not in self._tools]
        return [*(("endpoint", one) for one in endpoints), *(("tool", one) for one in missing)]
