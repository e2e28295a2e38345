"""How agents stand for the next cycle: how much room each has, and whether it may be chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from agents_app.models import Agent, Provider
from agents_app.objects import environment
from agents_app.selection_statements import MOST_STAND_INS


class AgentState(StrEnum):
    """Whether a cycle could get an agent now; `unreachable`: no provider of its chain is up."""

    AVAILABLE = "available"
    FULL = "full"
    UNHEALTHY = "unhealthy"
    UNREACHABLE = "unreachable"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many cycles an agent works on at most, and now."""

    max: int
    used: int

    @property
    def free(self) -> int:
        return max(0, self.max - self.used)

    @property
    def utilisation(self) -> float:
        return round(self.used / self.max, 4)


@dataclass(frozen=True, slots=True)
class Standing:
    """One agent, its room and its state."""

    agent: Agent
    capacity: Capacity
    state: AgentState


def of(rows: Iterable[Agent], *, now: datetime) -> list[Standing]:
    """How these stand, which `agents.with_use` has read; one query more for all providers."""
    found = list(rows)
    answering = _answering(now=now) if found else frozenset()
    return [_standing(one, answering, now=now) for one in found]


def _standing(agent: Agent, answering: frozenset[UUID], *, now: datetime) -> Standing:
    used: int = agent.used  # type: ignore[attr-defined]  # annotated by with_use
    capacity = Capacity(agent.max_concurrent, used)
    return Standing(agent, capacity, _state(agent, capacity, answering, now=now))


def _state(
    agent: Agent, capacity: Capacity, answering: frozenset[UUID], *, now: datetime
) -> AgentState:
    if not agent.enabled:
        return AgentState.DISABLED
    if agent.provider_id not in answering:
        return AgentState.UNREACHABLE
    if agent.unhealthy_until is not None and agent.unhealthy_until > now:
        return AgentState.UNHEALTHY
    return AgentState.AVAILABLE if capacity.free else AgentState.FULL


def _answering(*, now: datetime) -> frozenset[UUID]:
    """Providers that are up, or have a stand-in that is."""
    has_key = environment.provider() is not None
    rows = {one.id: one for one in Provider.objects.all()}
    up = {
        one.id
        for one in rows.values()
        if one.enabled
        and (has_key or not one.is_from_environment)
        and (one.unhealthy_until is None or one.unhealthy_until <= now)
    }
    return frozenset(one for one in rows if _reaches(one, up, rows))


def _reaches(provider_id: UUID | None, up: set[UUID], rows: dict[UUID, Provider]) -> bool:
    for _ in range(1 + MOST_STAND_INS):
        if provider_id is None:
            return False
        if provider_id in up:
            return True
        provider_id = rows[provider_id].fallback_provider_id
    return False
