"""What answers are held against in a replay: rights and limits, as they were stored or as of today.

Today's come from rows that people wrote, as a new cycle would read them; nothing of a model's words
is an argument here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, cast

from agents_app import rights, tools
from agents_app.agent_config import AgentConfig
from agents_app.models import Cycle, Endpoint
from agents_app.models_cycles import Phase
from agents_app.planning.asking import Patience
from agents_app.planning.authority import Called, Offer, Rights, grant
from agents_app.planning.contracts import Target
from agents_app.planning.grounds import fingerprint
from agents_app.planning.judging import AdviceContract, AnalysisContract, PlanContract
from agents_app.planning.validation import AdviceLimits, PlanLimits
from agents_app.replay.recorded import Recorded
from config.env import env

NOT_KEPT: Final = (
    "what the answers were checked against is not stored with this cycle: instead it is taken from "
    "its context, and the limits from today's settings"
)
PARTS_OF_AN_OFFER: Final = 3
NO_SCHEMA_KEPT: Final = (
    "the parameter schema of {0} has changed since: parameters are checked against what the model "
    "was told of the old one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """Rights and limits of one time; endpoints are in the order in which the schedule names them.

    `advises_at`: the instant from which a next run is judged. `notes`: what is not known exactly.
    """

    config: AgentConfig
    rights: Rights
    limits: PlanLimits
    tools: tuple[str, ...]
    patience: Patience
    advises_at: datetime
    notes: tuple[str, ...] = ()

    @property
    def plan_contract(self) -> PlanContract:
        return PlanContract(rights=self.rights, limits=self.limits)

    @property
    def analysis_contract(self) -> AnalysisContract:
        return AnalysisContract(tools=self.tools, most_parts=self.limits.most_steps)

    @property
    def advice_limits(self) -> AdviceLimits:
        return AdviceLimits(
            now=self.advises_at,
            min_interval_ms=self.config.min_interval_ms,
            max_interval_ms=self.config.max_interval_ms,
            is_strict=self.config.strict,
        )

    @property
    def advice_contract(self) -> AdviceContract:
        return AdviceContract(limits=self.advice_limits)


def of_today(recorded: Recorded, *, config: AgentConfig) -> Standard:
    """What a cycle of a schedule with this `config` would be held to now."""
    cycle, known = recorded.cycle, _Registered.of(recorded, config)
    rights = grant(
        known.offers(),
        endpoints=config.endpoints,
        tools=config.tools,
        agent_tools=_tools_of_agent(cycle, config),
    )
    return Standard(
        config=config,
        rights=rights,
        limits=_limits(config),
        tools=rights.names("tool"),
        patience=Patience(most_repairs=env.max_repair_attempts, is_strict=config.strict),
        advises_at=_advised_at(recorded),
    )


def of_then(recorded: Recorded) -> Standard:
    """What the cycle was held to, as far as that is stored."""
    config, kept = recorded.config, recorded.grounds(Phase.PLAN)
    known = _Registered.of(recorded, config)
    rights, notes = _rights_of(kept, recorded, known) if kept else (_told(recorded), [])
    analysis = recorded.grounds(Phase.ANALYSE) or {}
    is_asked = any(recorded.askings.values())
    return Standard(
        config=config,
        rights=rights,
        limits=_limits(config, kept or {}),
        tools=tuple(analysis.get("tools", rights.names("tool"))),
        patience=_patience(kept or {}, config),
        advises_at=_advised_at(recorded),
        notes=(*notes, *([NOT_KEPT] if is_asked and not kept else [])),
    )


@dataclass(frozen=True, slots=True)
class _Registered:
    """The endpoints and tools that the cycle or its schedule names, as they are today."""

    endpoints: Mapping[str, Endpoint]
    tools: frozenset[str]

    @classmethod
    def of(cls, recorded: Recorded, config: AgentConfig) -> _Registered:
        told = [one.name for one in recorded.context.endpoints]
        names = dict.fromkeys([*config.endpoints, *recorded.config.endpoints, *told])
        rows = Endpoint.objects.filter(owner_id=recorded.cycle.owner_id, name__in=names)
        found = {one.name: one for one in rows}
        of_both = frozenset([*config.tools, *recorded.config.tools])
        return cls(
            {name: found[name] for name in names if name in found},
            of_both.intersection(tools.names()),
        )

    def offers(self) -> Iterator[Offer]:
        for one in self.endpoints.values():
            yield Offer(
                target="endpoint",
                name=one.name,
                schema=one.parameters_schema,
                side_effect="read" if one.side_effect == "read" else "write",
                enabled=one.enabled,
                critical=one.critical,
            )
        for name in sorted(self.tools):
            yield Offer(target="tool", name=name, schema=tools.find(name).schema)

    def schema(self, called: Called) -> Mapping[str, Any] | None:
        found = (one.schema for one in self.offers() if (one.target, one.name) == called)
        return next(found, None)


def _rights_of(
    kept: Mapping[str, Any], recorded: Recorded, known: _Registered
) -> tuple[Rights, list[str]]:
    """The rights that are stored, with the schemas of today where these are still the same."""
    told = _told(recorded).open
    opened: dict[Called, Offer] = {}
    notes = []
    whole = [one for one in kept.get("open", ()) if len(one) == PARTS_OF_AN_OFFER]
    for target, name, mark in whole:  # of a long list the end may be cut
        called = (cast(Target, target), str(name))
        offer = told.get(called) or Offer(target=called[0], name=called[1])
        schema = known.schema(called)
        if schema is not None and fingerprint(schema) == mark:
            offer = replace(offer, schema=schema)
        elif fingerprint(offer.schema) != mark:
            notes.append(NO_SCHEMA_KEPT.format(f"{target} {name!r}"))
        opened[called] = offer
    withheld = {(cast(Target, one[0]), str(one[1])): one[2] for one in kept.get("withheld", ())}
    return Rights(open=MappingProxyType(opened), withheld=MappingProxyType(withheld)), notes


def _told(recorded: Recorded) -> Rights:
    """What the model was told of: that at least was open."""
    context = recorded.context
    offers = [
        *(
            Offer(
                target="endpoint",
                name=one.name,
                schema=one.parameters_schema,
                critical=one.critical,
            )
            for one in context.endpoints
        ),
        *(
            Offer(target="tool", name=one.name, schema=one.parameters_schema)
            for one in context.tools
        ),
    ]
    opened = {(one.target, one.name): one for one in offers}
    return Rights(open=MappingProxyType(opened), withheld=MappingProxyType({}))


def _limits(config: AgentConfig, kept: Mapping[str, Any] = MappingProxyType({})) -> PlanLimits:
    of_config = PlanLimits(
        most_steps=env.max_plan_steps,
        most_concurrency=config.max_parallel,
        strategy=config.strategy,
    )
    names = ("most_steps", "most_concurrency", "strategy")
    return replace(of_config, **{one: kept[one] for one in names if one in kept})


def _patience(kept: Mapping[str, Any], config: AgentConfig) -> Patience:
    repairs = kept.get("most_repairs", env.max_repair_attempts)
    return Patience(most_repairs=repairs, is_strict=kept.get("is_strict", config.strict))


def _advised_at(recorded: Recorded) -> datetime:
    """When advice was asked for: today would be too late for what was said then."""
    kept = (recorded.grounds(Phase.SCHEDULE) or {}).get("now")
    said = kept or (recorded.cycle.advice or {}).get("proposed_at")
    return datetime.fromisoformat(said) if said else recorded.context.now


def _tools_of_agent(cycle: Cycle, config: AgentConfig) -> tuple[str, ...]:
    agent = rights.agent_of(cycle.agent_id, config)
    return tuple(agent.tools) if agent else ()
