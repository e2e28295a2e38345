"""Which agent carries out a cycle: capable, up, with a free place, and the least loaded of these.

A running cycle that has begun holds one place of its agent (`selection_statements.WORKING`), so
whoever takes one locks the agent's row, counts, and only then writes. Nobody misses a place either:
who finds none lets those know who free one (`_stand_in_line`), and they look after who waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from django.db import transaction

from agents_app import health
from agents_app import selection_statements as statements
from agents_app.models import Agent, CycleStage, CycleStatus
from agents_app.objects import defaults, environment
from executions_app import prepared
from executions_app.states import LostRace

# Who waits for an agent, or for its row, shares it; who frees a place and has no heir asks for all
LINE_KEY: Final = 0x4147454E
FIRST_PAGE: Final = 8
PAGE: Final = 500
SPARE: Final = 16
LOOKED_AT: Final = 64
FIRST: Final = UUID(int=0)
MOST_NAMED: Final = 3
MOST_STANDING: Final = 1_000


class Asks(Protocol):
    """What a schedule says about its agent, such as `AgentConfig`."""

    @property
    def agent(self) -> str | None: ...
    @property
    def capabilities(self) -> list[str]: ...
    @property
    def tools(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a cycle needs of an agent: its name, or else what it must be able to do and to use."""

    agent: str | None = None
    capabilities: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: Asks) -> Requirements:
        """Those of a schedule."""
        return cls(config.agent, tuple(config.capabilities), tuple(config.tools))

    def as_parameters(self) -> dict[str, Any]:
        """What the statements take."""
        capabilities, tools = list(self.capabilities), list(self.tools)
        return {"agent": self.agent, "capabilities": capabilities, "tools": tools}


class Lack(StrEnum):
    """Why there is no agent for a cycle."""

    UNKNOWN = "unknown"
    """no agent has this name"""
    INCAPABLE = "incapable"
    """there is none that can do it"""
    DOWN = "down"
    """whoever could is switched off, or left out because it or its provider fails"""
    FULL = "full"
    """all places of those that are up are taken: the only one that is worth waiting for"""


@dataclass(frozen=True, slots=True)
class Absence:
    """Why there is no agent, in a word and in a sentence."""

    lack: Lack
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """One agent that could carry out a cycle. `depth`: 0, or how many it stands in for."""

    id: UUID
    name: str
    depth: int
    used: int
    most: int
    is_up: bool

    @property
    def free(self) -> int:
        """Places that nobody holds; 0 while it is not up."""
        return max(0, self.most - self.used) if self.is_up else 0


def take(
    requirements: Requirements,
    *,
    cycle_id: UUID,
    stage: CycleStage = CycleStage.PLAN,
    deadline: datetime | None = None,
) -> Agent | None:
    """Give a cycle a place of an agent and let it stand at `stage`; None if there is none for it.

    `deadline`: of its time limit from then on; unless given, as it was.
    A cycle that has a place keeps it. None also while somebody else moves the cycle. Inside a
    transaction of the caller the agent is locked until its end. Raises LostRace if the cycle is
    over. `why_none` says what is the matter.
    """
    defaults.ensure()
    with transaction.atomic():
        held = _locked(cycle_id)
        if held is None:
            return None
        status, standing_at, agent_id = held
        if status != CycleStatus.RUNNING or standing_at == CycleStage.DONE:
            raise LostRace("This cycle is over", cycle_id=cycle_id)
        if agent_id is None or standing_at == CycleStage.WAIT:
            given = {"cycle": cycle_id, "stage": stage.value, "deadline": deadline}
            words = {**requirements.as_parameters(), **given}
            agent_id = _claim(statements.BEST_UNLOCKED, words)
            if agent_id is None:
                _stand_in_line()
                agent_id = _claim(statements.BEST_AWAITED, words)
        return _agent(agent_id) if agent_id else None


def why_none(requirements: Requirements) -> Absence:
    """Why `take` found nobody."""
    found = standing(requirements)
    if not found:
        return _nobody(requirements)
    up = [one for one in found if one.is_up]
    if not up:
        return Absence(
            Lack.DOWN,
            f"Whoever could carry this out is switched off or failing: {_named(found)}",
        )
    taken = [f"{one.name!r} ({one.used} of {one.most})" for one in up]
    return Absence(Lack.FULL, f"All places are taken: {_listed(taken)}")


def by_rights_of(requirements: Requirements) -> Agent | None:
    """By whose rights a cycle uses tools that goes on without an agent; None: by nobody's.

    One that could carry it out and is switched on, though it or its provider fails: the model is
    away then, and not what a person has allowed.
    """
    rows = _rows(statements.BY_RIGHTS_OF, requirements.as_parameters())
    return _agent(rows[0][0]) if rows else None


def standing(requirements: Requirements, *, most: int = MOST_STANDING) -> list[Standing]:
    """The agents that could carry this out, the one to be asked first in front."""
    words = {**requirements.as_parameters(), "most": most}
    return [Standing(*row) for row in _rows(statements.STANDING, words)]


def waiting(*, limit: int) -> list[UUID]:
    """Cycles that wait for an agent though a place is free for them, the oldest first."""
    return _served(agent_id=None, limit=limit)


def in_line(agent_id: UUID) -> list[UUID]:
    """The first who wait for a place that this agent is to free, the oldest first: a hint.

    More than one, for whoever frees another place just now may be at the first of them; and only
    of the first that wait at all, for rows are locked meanwhile.
    """
    page = _page(FIRST, size=LOOKED_AT)
    return _fitting(page, agent_id=agent_id, limit=SPARE, spare=SPARE) if page else []


def next_waiting(agent_id: UUID) -> UUID | None:
    """The oldest cycle that waits for a place which this agent has; to be asked after one ended.

    In a transaction of its own, once the end of the cycle is committed.
    """
    _rows("SELECT pg_advisory_xact_lock(%(key)s)", {"key": LINE_KEY})
    return next(iter(_served(agent_id=agent_id, limit=1)), None)


def _locked(cycle_id: UUID) -> tuple[str, str, UUID | None] | None:
    rows = _rows(statements.CYCLE, {"cycle": cycle_id})
    return rows[0] if rows else None


def _claim(best: str, words: Mapping[str, Any]) -> UUID | None:
    """One agent after the other until a place is taken, or nobody has a free one."""
    while True:
        with transaction.atomic():  # an agent that was locked in vain is let go again
            found = _rows(best, words)
            if not found:
                return None
            agent_id, is_probe = found[0]
            is_taken = _rows(statements.CLAIM, {**words, "agent_id": agent_id})
            if is_taken and (not is_probe or health.probe(Agent, agent_id)):
                claimed: UUID = agent_id
                return claimed
            transaction.set_rollback(True)


def _stand_in_line() -> None:
    """Until the transaction ends: who frees a place looks who waits for it only after that.

    Otherwise a cycle that found all places taken would not be seen yet by the last one to free one.
    """
    _rows("SELECT pg_advisory_xact_lock_shared(%(key)s)", {"key": LINE_KEY})


def _served(*, agent_id: UUID | None, limit: int) -> list[UUID]:
    """Page by page through those who wait, so that nobody hides behind others."""
    found: list[UUID] = []
    after = FIRST
    size = min(PAGE, FIRST_PAGE * limit)  # mostly the first ones fit
    while page := _page(after, size=size):
        if not _rows(statements.HAS_ROOM, {"agent": agent_id})[0][0]:
            break
        found += _fitting(page, agent_id=agent_id, limit=limit - len(found))
        if len(page) < size or len(found) >= limit:
            break
        after, size = page[-1], PAGE
    return found


def _page(after: UUID, *, size: int) -> list[UUID]:
    return [row[0] for row in _rows(statements.PAGE, {"after": after, "most": size})]


def _fitting(
    page: Sequence[UUID], *, agent_id: UUID | None, limit: int, spare: int = 0
) -> list[UUID]:
    """Those for whom there is a place, of this agent or of any, and `spare` more."""
    words = {"page": list(page), "agent": agent_id, "limit": limit, "spare": spare}
    return [row[0] for row in _rows(statements.SERVED, words)]


def _agent(agent_id: UUID) -> Agent:
    return Agent.objects.select_related("provider__fallback_provider").get(id=agent_id)


def _nobody(requirements: Requirements) -> Absence:
    is_known = requirements.agent and Agent.objects.filter(name=requirements.agent).exists()
    if requirements.agent and not is_known:
        return Absence(Lack.UNKNOWN, f"There is no agent named {requirements.agent!r}; create it")
    needs = [repr(one) for one in (*requirements.capabilities, *requirements.tools)]
    if not needs:
        return Absence(Lack.INCAPABLE, "There is no agent; create one")
    who = f"The agent {requirements.agent!r} cannot" if is_known else "No agent can"
    return Absence(Lack.INCAPABLE, f"{who} do {_listed(needs)}; give it the capabilities and tools")


def _named(found: Sequence[Standing]) -> str:
    return _listed([repr(one.name) for one in found])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _rows(statement: str, words: Mapping[str, Any]) -> list[Any]:
    has_key = environment.provider() is not None
    return prepared.execute(statement, {**words, "has_key": has_key}).fetchall()
