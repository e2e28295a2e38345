"""What the advice of an agent was worth: how it was taken, and how the runs after it went."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from agents_app import scores
from agents_app.models import Agent, Cycle
from executions_app import clock, ids
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app.models import Schedule, ScheduleDecision
from tests.agents_app import objects
from tests.agents_app.objects import agent, working
from tests.factories import ExecutionFactory, ScheduleFactory
from tests.scale import plans

pytestmark = pytest.mark.django_db
SECONDS = count(1)


def advised(of: Agent, schedule: Schedule, status: str) -> ScheduleDecision:
    """A cycle of this agent that has ended, and what became of its advice."""
    cycle = working(of, owner=schedule.owner, stage="done", schedule_id=schedule.id)
    decision = ScheduleDecision.objects.create(
        schedule_id=schedule.id,
        owner_id=schedule.owner_id,
        execution_id=cycle.execution_id,
        cycle_id=cycle.id,
        source="model",
        kind="next_run_at",
        autonomy="auto",
        seen_version=1,
        status=status,
        expires_at=clock.now(),
    )
    Cycle.objects.filter(id=cycle.id).update(status="completed", decision_id=decision.id)
    return decision


def run_after(decision: ScheduleDecision, **columns: Any) -> Execution:
    made: Execution = ExecutionFactory.create(status=ExecutionStatus.QUEUED)
    later = clock.now() + timedelta(seconds=next(SECONDS))  # a test is one instant
    columns = {"id": ids.new(later), "completed_at": clock.now(), **columns}
    Execution.objects.filter(id=made.id).update(schedule_id=decision.schedule_id, **columns)
    return made


def schedule_of(owner: User, *, autonomy: str = "auto") -> Schedule:
    config = {"goal": "warm", "endpoints": ["warm-eu"], "agent": "warmer", "autonomy": autonomy}
    made: Schedule = ScheduleFactory.create(owner=owner, task_type="agent", task_config=config)
    return made


def score(of: Agent, *, owner_id: int | None = None) -> scores.Score:
    return scores.of([of], owner_id=owner_id)[of.id]


def test_decisions_are_counted_by_what_became_of_them_and_runs_by_how_they_went() -> None:
    made, ada = agent(name="warmer"), objects.person()
    for status, outcome in (("completed", "ok"), ("completed", "partial"), ("failed", "")):
        run_after(advised(made, schedule_of(ada), "adopted"), status=status, outcome=outcome)
    advised(made, schedule_of(ada), "adopted")  # no run came yet
    waiting = advised(made, schedule_of(ada, autonomy="propose"), "proposed")
    run_after(waiting, status="completed", outcome="ok")
    for status in ("reverted", "refused", "refused", "superseded", "recorded", "expired"):
        advised(made, schedule_of(ada, autonomy="shadow"), status)

    found = score(made)

    assert (found.adopted, found.decided) == (4, 8)
    assert found.others == [("reverted", 1), ("refused", 2), ("superseded", 1)]
    assert (found.well, found.followed) == (1, 3)
    assert found.autonomy == {"auto": 4, "propose": 1, "shadow": 6}


def test_only_the_run_that_came_next_counts_and_only_once_it_has_ended() -> None:
    made, ada = agent(name="warmer"), objects.person()
    decision = advised(made, schedule_of(ada), "adopted")
    run_after(decision, status="queued", completed_at=None)
    run_after(decision, status="completed", outcome="ok")

    assert (score(made).well, score(made).followed) == (0, 0)
    Execution.objects.filter(schedule_id=decision.schedule_id, status="queued").update(
        status="failed", outcome="timeout", completed_at=clock.now()
    )

    assert (score(made).well, score(made).followed) == (0, 1)


def test_each_agent_has_its_own_and_each_person_sees_theirs() -> None:
    made, other = agent(name="warmer"), agent(name="other")
    ada, bob = objects.person(), objects.person()
    advised(made, schedule_of(ada), "adopted")
    advised(made, schedule_of(bob), "refused")
    advised(other, schedule_of(ada), "reverted")

    both = scores.of([made, other], owner_id=None)

    assert both[made.id].decisions == {"adopted": 1, "refused": 1}
    assert both[other.id].decisions == {"reverted": 1}
    assert score(made, owner_id=ada.pk).decisions == {"adopted": 1}
    assert score(made, owner_id=bob.pk).decisions == {"refused": 1}
    assert scores.of([], owner_id=None) == {}


def test_the_latest_cycles_alone_are_looked_at_and_along_indexes() -> None:
    made, ada = agent(name="warmer"), objects.person()
    schedule = schedule_of(ada)
    advised(made, schedule, "refused")
    Cycle.objects.update(id=ids.new(clock.now() - timedelta(minutes=1)))
    for _ in range(scores.LATEST):
        advised(made, schedule, "adopted")
    for _ in range(4 * scores.LATEST):  # of few agents every index would do about as well
        working(None, owner=ada, stage="done", agent_id=ids.new(clock.now()))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE cycles")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")

    with plans.watched() as seen:
        found = score(made)

    (plan,) = seen.plans
    assert (found.adopted, found.decided) == (scores.LATEST, scores.LATEST)
    assert plan.most_scanned() == 0, plan
    (cycles,) = (one for one in plan.nodes if one.get("Relation Name") == "cycles")
    assert (cycles["Index Name"], cycles["Actual Rows"]) == ("cycle_of_agent", scores.LATEST)


def page(client: Client, user: User) -> str:
    client.force_login(user)
    return client.get("/agents").content.decode()


def test_the_page_shows_autonomy_and_what_decisions_were_worth(client: Client) -> None:
    made, ada = agent(name="warmer"), objects.person()
    decision = advised(made, schedule_of(ada), "adopted")
    run_after(decision, status="completed", outcome="ok")
    advised(made, schedule_of(ada, autonomy="shadow"), "refused")
    advised(made, schedule_of(objects.person()), "reverted")

    hers, all_ = page(client, ada), page(client, objects.operator())

    assert "1 of 2 adopted" in hers
    assert "1 refused, 1 of 1 next runs went well" in hers
    assert "autonomy of its schedules: 1 auto, 1 shadow" in hers
    assert "1 of 3 adopted" in all_
    assert "1 reverted, 1 refused" in all_
    assert "autonomy of its schedules: 2 auto, 1 shadow" in all_


def test_an_agent_that_decided_nothing_shows_a_dash(client: Client) -> None:
    agent(name="warmer")

    shown = page(client, objects.person())

    assert "adopted" not in shown
    assert "autonomy" not in shown
