"""Plans an execution when no model does: the last good plan, or all that is declared, in order."""

from __future__ import annotations

from functools import partial

from agents_app.models import Tier
from agents_app.planning import fallback, validation
from agents_app.planning.context import Earlier
from agents_app.planning.deciding import (
    Advised,
    AIAgentService,
    Planned,
    PlanRequest,
    ScheduleRequest,
)
from agents_app.planning.fallback import Choice, FallbackConfig, Standby, Trouble
from agents_app.planning.fallback_timing import Situation
from agents_app.planning.job_context import EndpointFacts

NOTHING_EARLIER = Earlier()


class FallbackService(AIAgentService):
    """`trouble`: why no model plans. `situation` and `earlier`: what is known of the schedule."""

    def __init__(
        self,
        trouble: Trouble,
        *,
        situation: Situation,
        config: FallbackConfig,
        earlier: Earlier = NOTHING_EARLIER,
    ) -> None:
        self._trouble = trouble
        self._situation = situation
        self._config = config
        self._earlier = earlier

    def plan(self, request: PlanRequest) -> Planned:
        """Never raises: the last rung is to call nothing, and to leave the next run as it is."""
        chosen = self._choose(self._standby(request))
        return Planned(
            plan=chosen.plan,
            tier=Tier(chosen.tier),
            reason=chosen.reason,
            trouble=self._trouble,
        )

    def schedule(self, request: ScheduleRequest) -> Advised:
        """Never raises."""
        del request
        advice, source = fallback.advice(self._choose(Standby()), self._situation)
        return Advised(advice=advice, source=source)

    def _choose(self, standby: Standby) -> Choice:
        return fallback.choose(self._trouble, self._situation, config=self._config, standby=standby)

    def _standby(self, request: PlanRequest) -> Standby:
        """The plans that could be carried out without a model: of what is opened, as it is
        registered, since what a model is told of it is shortened and without secrets.
        """
        endpoints = [
            EndpointFacts(name=one.name, critical=one.critical, parameters_schema=dict(one.schema))
            for one in request.rights.open.values()
            if one.target == "endpoint"
        ]
        return Standby(
            last_good=fallback.last_good_plan(
                self._earlier.plans,
                endpoints,
                tools=request.rights.names("tool"),
                check=partial(
                    validation.plan_problems, rights=request.rights, limits=request.limits
                ),
            ),
            deterministic=fallback.deterministic_plan(endpoints, parameters=request.parameters),
        )
