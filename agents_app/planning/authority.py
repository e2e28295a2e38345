"""What the plan of an execution may name: what a person has opened for it, and nothing else. Pure.

It is made of rows that people wrote - the endpoints and tools of the schedule, the tools of the
agent - before a model is asked. No text of a model, an endpoint or a memory is an argument of
anything here, so none can add an endpoint, a tool or a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from agents_app.planning.contracts import Target

Called = tuple[Target, str]
NO_SCHEMA: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An endpoint or tool as it is registered. `schema`: JSON Schema of its parameters.

    `critical`: without it the rest of a plan is pointless, whoever plans.
    """

    target: Target
    name: str
    schema: Mapping[str, Any] = field(default_factory=lambda: NO_SCHEMA)
    side_effect: Literal["read", "write"] = "write"
    enabled: bool = True
    critical: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """`open`: what may be called. `withheld`: what exists but may not be called here, and why."""

    open: Mapping[Called, Offer]
    withheld: Mapping[Called, str]

    def names(self, target: Target) -> tuple[str, ...]:
        """What may be called, in the order it was given."""
        return tuple(name for kind, name in self.open if kind == target)


def grant(
    registered: Iterable[Offer],
    *,
    endpoints: Iterable[str],
    tools: Iterable[str],
    agent_tools: Iterable[str],
) -> Rights:
    """What a plan may name: the schedule's endpoints, and those of its tools that its agent has.

    `registered`: what there is for the owner of the schedule. What is not opened stays closed.
    """
    allowed = {"endpoint": frozenset(endpoints), "tool": frozenset(tools)}
    of_agent = frozenset(agent_tools)
    opened: dict[Called, Offer] = {}
    withheld: dict[Called, str] = {}
    for one in registered:
        refusal = _refusal(one, allowed=allowed[one.target], of_agent=of_agent)
        if refusal:
            withheld[one.target, one.name] = refusal
        else:
            opened[one.target, one.name] = one
    return Rights(open=MappingProxyType(opened), withheld=MappingProxyType(withheld))


def _refusal(one: Offer, *, allowed: frozenset[str], of_agent: frozenset[str]) -> str:
    if not one.enabled:
        return "is switched off"
    if one.name not in allowed:
        return "is not opened for this schedule"
    if one.target == "tool" and one.name not in of_agent:
        return "is not among the tools of this agent"
    return ""
