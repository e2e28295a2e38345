"""The first stage: a plan, from a model or by the ladder, frozen before any answer is read.

Model, other provider, last good plan, all endpoints in their order: the first that can be carried
out is. Which one it was is the cycle's `tier`, and why, its `tier_reason`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents_app import calling, connections, rights, tools
from agents_app.agent_config import AgentConfig
from agents_app.cycle import deciders, holder
from agents_app.cycle.keeping import Work
from agents_app.cycle.thinking import Thinker
from agents_app.models import Cycle, Endpoint, Tier
from agents_app.models_cycles import Phase
from agents_app.planning import context as contexts
from agents_app.planning import prompts, validation
from agents_app.planning.authority import Offer, Rights, grant
from agents_app.planning.contracts import Plan, TaskAnalysis
from agents_app.planning.deciding import NoModel, Planned, PlanRequest
from agents_app.planning.fallback import Trouble
from agents_app.planning.job_context import JobContext
from agents_app.planning.judging import AnalysisContract
from agents_app.planning.validation import PlanLimits
from config.env import env
from errors_app.taxonomy import ErrorClass, HandlerError
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


def _endpoints(owner_id: int, names: Sequence[str]) -> dict[str, Endpoint]:
    """Those that exist and are enabled, in the order in which the schedule names them."""
    rows = Endpoint.objects.filter(owner_id=owner_id, name__in=names, enabled=True)
    found = {one.name: one for one in rows}
    return {name: found[name] for name in dict.fromkeys(names) if name in found}


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


class PlanFailed(HandlerError):
    """Nobody, the model or what stands in for it, has a plan for the execution."""

    def __init__(self, message: str, *, error_class: ErrorClass = ErrorClass.MALFORMED) -> None:
        super().__init__(message, error_class=error_class)


class _Maker:
    def __init__(self, cycle: Cycle, held: Claimed, config: AgentConfig, work: Work) -> None:
        self._cycle, self._held, self._config = cycle, held, config
        self._thinker = Thinker(cycle, config, work, request_id=holder.request_id(held))
        self._endpoints = _endpoints(cycle.owner_id, config.endpoints)
        self._tools = [name for name in config.tools if name in tools.names()]
        self._rights = self._granted()
        self._context = contexts.gather(cycle, now=clock.now(), embed=self._thinker.embed)
        self._notes: list[str] = [
            *self._context.remarks,
            *(
                f"{kind} {name!r} does not exist or is switched off, and is left out"
                for kind, name in self._missing()
            ),
        ]

    def made(self) -> Made:
        analysis = self._analysis()
        context = self._offering(analysis)
        decider = deciders.of(self._cycle, self._config, self._thinker, context=context)
        planned = decider.plan(
            PlanRequest(
                context=context,
                rights=self._rights,
                limits=self._limits(),
                bounds=self._config.prompt_optimization,
                parameters=self._held.parameters,
                analysis=analysis,
            )
        )
        if planned.plan is None and planned.trouble is Trouble.SWITCHED_OFF:
            raise PlanFailed(
                f"There is nothing to call: {planned.reason}, and no endpoint of the schedule can "
                "be called without a plan; register its endpoints, or configure a model",
                error_class=ErrorClass.PERMANENT,
            )
        return self._as_made(planned, context=context, analysis=analysis)

    def _analysis(self) -> TaskAnalysis | None:
        """What the task needs, where a person wants that looked at first, of all there is."""
        if not self._config.analyse:
            return None
        rendered = prompts.messages_for(
            "analyse", self._context, limits=self._config.prompt_optimization
        )
        contract = AnalysisContract(tools=self._rights.names("tool"), most_parts=env.max_plan_steps)
        try:
            thought = self._thinker.think(contract, rendered, phase=Phase.ANALYSE)
        except NoModel as error:
            self._notes.append(f"The task was not analysed: {error.reason}")
            return None
        return thought.value

    def _as_made(
        self, planned: Planned, *, context: JobContext, analysis: TaskAnalysis | None
    ) -> Made:
        plan = planned.plan
        return Made(
            plan=plan,
            tier=planned.tier,
            tier_reason=planned.reason[:2_000],
            trouble=planned.trouble or "",
            context=context,
            analysis=analysis,
            notes=(*self._notes, *planned.notes),
            endpoints={
                name: calling.snapshot_of(one)
                for name, one in self._endpoints.items()
                if plan and any(step.name == name for step in plan.steps)
            },
            concurrency=min(plan.concurrency, self._config.max_parallel) if plan else 1,
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
                    critical=one.critical,
                )
                for one in self._endpoints.values()
            ),
            *(
                Offer(target="tool", name=name, schema=tools.find(name).schema)
                for name in self._tools
            ),
        ]
        agent = self._thinker.agent or rights.agent_of(None, self._config)
        return grant(
            offers,
            endpoints=self._config.endpoints,
            tools=self._config.tools,
            agent_tools=agent.tools if agent else (),
        )

    def _offering(self, analysis: TaskAnalysis | None) -> JobContext:
        """What the planner is told: of the tools, those that the task takes."""
        agent = self._thinker.agent
        return contexts.offering(
            self._context,
            required=analysis.required_tools if analysis else (),
            capabilities=agent.capabilities if agent else (),
        )

    def _missing(self) -> list[tuple[str, str]]:
        endpoints = [one for one in self._config.endpoints if one not in self._endpoints]
        missing = [one for one in self._config.tools if one not in self._tools]
        return [*(("endpoint", one) for one in endpoints), *(("tool", one) for one in missing)]
