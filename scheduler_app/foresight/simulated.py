"""Who acts in a simulated world and what changes about them. Pure: no Django, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from scheduler_app.coming import Prospect
from scheduler_app.foresight.simulation_measures import OfSchedule
from scheduler_app.policies import CatchupPolicy, Circumstances, OutsideWindow, OverlapPolicy


@dataclass(frozen=True, slots=True)
class Actor:
    """One schedule as the world sees it; `durations` are taken in turn, `keys` are its limits."""

    prospect: Prospect
    overlap: OverlapPolicy
    durations: Sequence[timedelta]
    priority: str = "normal"
    buffer_limit: int = 100
    run_ttl: timedelta | None = None
    keys: tuple[str, ...] = ()
    upstreams: frozenset[UUID] = frozenset()
    needs_all: bool = False
    active: int = 0
    """How many of its executions have not ended when the simulation begins."""


@dataclass(slots=True, eq=False)
class Run:
    """One execution of the simulated world."""

    state: State
    due_at: datetime
    duration: timedelta
    expires_at: datetime | None
    is_started: bool = False
    is_over: bool = False


@dataclass(slots=True, eq=False)
class State:
    """What changes about an actor."""

    actor: Actor
    nominals: Iterator[datetime]
    runs_left: int | None
    seen: OfSchedule
    undisturbed: Circumstances
    made: int = 0
    live: dict[int, Run] = field(default_factory=dict)
    held: deque[Run] = field(default_factory=deque)
    marks: set[UUID] = field(default_factory=set)
    dependents: list[State] = field(default_factory=list)


def circumstances(state: State) -> Circumstances:
    """What the policies are told when a fire of it comes due."""
    if state.runs_left is None and not state.live:
        return state.undisturbed
    return replace(
        state.undisturbed,
        has_active=bool(state.live),
        held=len(state.held),
        runs_left=state.runs_left,
    )


def undisturbed(actor: Actor) -> Circumstances:
    """The same while nothing of it is active."""
    doors = actor.prospect.doors
    return Circumstances(
        overlap=actor.overlap,
        catchup=CatchupPolicy.LATEST,
        buffer_limit=actor.buffer_limit,
        openings=None if doors is None else doors.openings,
        outside=OutsideWindow.SKIP if doors is None else doors.outside,
    )
