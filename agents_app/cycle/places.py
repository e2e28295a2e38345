"""Which agent carries out a cycle: a free place is taken, or the cycle waits for one.

Where nobody can be asked at all (none is registered, the one that is named does not exist or is
down with all its stand-ins) the cycle does not wait: it goes on without an agent, on a lower tier.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction
from pydantic import ValidationError

from agents_app import connections, selection
from agents_app.agent_config import AgentConfig
from agents_app.cycle import canvas, going_on, holder, rows
from agents_app.models import Cycle, CycleStage, CycleStatus
from agents_app.selection import Lack, Requirements
from executions_app import clock, leases
from executions_app.database_errors import is_away
from executions_app.ledger import Claimed
from executions_app.states import LostRace

# So much longer lasts the lease of a cycle that waits, and whoever looks at it renews it: of many
# that wait each is looked at only once in a while.
WAITS_LONGER: Final = timedelta(hours=1)

logger = logging.getLogger(__name__)


def take(cycle: Cycle, held: Claimed, config: AgentConfig, *, deadline: datetime) -> bool:
    """In the caller's transaction: whether the cycle goes on; False if it waits.

    `deadline`: of its time limit if it goes on now. While it waits it has none, and its lease is
    renewed.
    """
    requirements = Requirements.of(config)
    if _place(cycle, held, requirements, deadline=deadline):
        return True
    absence = selection.why_none(requirements)
    why = {} if cycle.tier else {"tier_reason": absence.text}
    if absence.lack is not Lack.FULL:
        _keep_lease(cycle, held, deadline=deadline)
        rows.move(cycle, stage=_resumes_at(cycle), agent_id=None, deadline=deadline, **why)
        return True
    rows.move(cycle, **why)
    until = holder.lease_until(deadline) + WAITS_LONGER
    leases.keep(held, until=until, unless_after=until - WAITS_LONGER / 2)
    progress = {"done": 0, "total": 0, "failed": 0, "percent": 0}
    waits_for = f"waits for an agent: {absence.text}"[:200]
    leases.tell_progress(held, {**progress, "current_step": waits_for})
    return False


def _place(cycle: Cycle, held: Claimed, requirements: Requirements, *, deadline: datetime) -> bool:
    resume = _resumes_at(cycle)
    agent = selection.take(requirements, cycle_id=cycle.id, stage=resume, deadline=deadline)
    if agent is None:
        return False
    _keep_lease(cycle, held, deadline=deadline)
    cycle.agent_id, cycle.stage, cycle.deadline = agent.id, resume, deadline
    return True


def _keep_lease(cycle: Cycle, held: Claimed, *, deadline: datetime) -> None:
    """Nothing is written unless somebody waited in a line so long that few have looked at it."""
    if cycle.deadline < deadline:
        until = holder.lease_until(deadline)
        leases.keep(held, until=until, unless_after=until)


def _resumes_at(cycle: Cycle) -> CycleStage:
    """What an earlier attempt has planned is carried out, not planned again."""
    return CycleStage.EXECUTE if cycle.tier else CycleStage.PLAN


def give(cycle_id: UUID) -> None:
    """Let a cycle that waits begin if it can; raises LostRace."""
    with connections.turn(), transaction.atomic():
        cycle = rows.lock(cycle_id)
        if cycle.status != CycleStatus.RUNNING or cycle.stage != CycleStage.WAIT:
            return
        held = holder.of(cycle)
        has_place = take(cycle, held, holder.config_of(held), deadline=_from_now(held))
    if has_place:
        start(cycle)


def start(cycle: Cycle) -> None:
    """A cycle has a place: it goes on where it stands."""
    if cycle.stage == CycleStage.EXECUTE:
        going_on.look(cycle.id)
    else:
        canvas.stage(cycle)


def hand_over(ended: Cycle) -> Cycle | None:
    """In the transaction that ends a cycle: its place is the next one's; answers whose.

    So no place is empty between two cycles. None is a hint only: `give_back` looks again.
    """
    if ended.agent_id is None:
        return None
    try:
        with transaction.atomic():
            for waiting in selection.in_line(ended.agent_id):
                if (found := _heir(waiting)) is not None:
                    heir, held, requirements = found
                    has_place = _place(heir, held, requirements, deadline=_from_now(held))
                    return heir if has_place else None
            return None
    except Exception as error:  # another's begin fails nobody's end
        if is_away(error) or connection.needs_rollback:
            raise
        logger.exception("The place of cycle %s was not handed over", ended.id)
        return None


def _from_now(held: Claimed) -> datetime:
    return holder.deadline_of(held, begins_at=clock.now())


def _heir(cycle_id: UUID) -> tuple[Cycle, Claimed, Requirements] | None:
    """A cycle that waits, locked, and what it needs; None if somebody is at it, or it is over."""
    waiting = rows.lock_waiting(cycle_id)
    if waiting is None:
        return None
    try:
        held = holder.of(waiting)
        return waiting, held, Requirements.of(holder.config_of(held))
    except (LostRace, ValidationError) as error:
        logger.info("Cycle %s waits for an agent, and for nothing: %s", cycle_id, error)
        return None


def give_back(cycle: Cycle, heir: Cycle | None = None) -> None:
    """A cycle is over, which is committed: whoever has its place, or waits for it, begins.

    Whatever goes wrong with that is not the ended cycle's: the watchdog looks again.
    """
    try:
        if heir is not None:
            start(heir)
        if cycle.agent_id is not None and (heir is None or heir.agent_id != cycle.agent_id):
            _give_next(cycle.agent_id)
    except LostRace:
        return
    except Exception:
        logger.exception("Whoever waits for the place of cycle %s begins later", cycle.id)


def _give_next(agent_id: UUID) -> None:
    with connections.turn(), transaction.atomic():
        waiting = selection.next_waiting(agent_id)
    if waiting is not None:
        give(waiting)


def give_all(*, most: int) -> int:
    """Let cycles begin that wait though they need not; answers how many there were."""
    found = selection.waiting(limit=most)
    for one in found:
        _try(one)
    return len(found)


def _try(cycle_id: UUID) -> None:
    try:
        give(cycle_id)
    except LostRace:
        return
    except Exception as error:
        if is_away(error):
            raise
        logger.exception("Cycle %s waits for an agent and could not be given one", cycle_id)
