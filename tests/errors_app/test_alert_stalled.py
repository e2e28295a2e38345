"""An AI execution is stalled when its cycle is, and not when its worker has nothing to renew."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from agents_app.cycle import monitor
from agents_app.models import Cycle, CycleStage, CycleStatus
from config.env import env
from errors_app.models import Alert
from executions_app import clock, ids
from executions_app.models import Execution, Step
from executions_app.states import ExecutionStatus
from tests.agents_app.agents import make_cycle
from tests.errors_app.watched import ended, execution, firing, look, looks, rule, schedule

pytestmark = pytest.mark.django_db
LEASE = timedelta(seconds=env.lease_seconds)
LONG_AGO = 5 * LEASE


def handed_over(*, since: timedelta = LONG_AGO, **changes: Any) -> Execution:
    """An AI execution whose cycle has the lease since then: nobody renews the execution's own."""
    at = clock.now() - since
    held = execution(
        ExecutionStatus.RUNNING,
        started_at=at,
        heartbeat_at=at,
        snapshot={"name": "think", "task_type": "agent", "timeout_ms": 3_600_000},
    )
    words = {
        "execution_id": held.id,
        "token": held.lease_token,
        "stage": CycleStage.EXECUTE,
        "started_at": at,
        "deadline": at + timedelta(hours=1),
    }
    make_cycle(**{**words, **changes})
    return held


def renewed(at: datetime) -> dict[str, Any]:
    """What a cycle says whose stage somebody carries out, who renewed it then."""
    return {"stage_token": uuid4(), "stage_expires_at": at + LEASE}


def step(of: Execution, **changes: Any) -> Step:
    words = {"position": 0, "name": "warm", "created_at": clock.now() - LONG_AGO, **changes}
    return Step.objects.create(id=ids.new(clock.now()), execution_id=of.id, **words)


def found(name: str = "a rule", **parameters: Any) -> list[str]:
    watched = rule("stalled_execution", name=name, parameters=parameters)
    return [one.key for one in look(watched)]


def key(of: Execution) -> str:
    return f"{of.id}:{of.attempt}"


def test_a_cycle_whose_stage_or_step_is_renewed_may_take_as_long_as_it_likes() -> None:
    now = clock.now()
    handed_over(stage=CycleStage.PLAN, **renewed(now))
    step(handed_over(), status="running", lease_expires_at=now + LEASE)
    step(handed_over(), status="completed", completed_at=now - LEASE)

    assert found() == []


def test_a_cycle_that_waits_for_an_agent_is_not_stalled_and_its_time_limit_has_not_begun() -> None:
    long_over = clock.now() - timedelta(hours=2)
    handed_over(since=timedelta(hours=3), stage=CycleStage.WAIT, deadline=long_over)

    assert found() == []


def test_a_cycle_that_has_just_got_its_agent_has_given_a_sign_of_life() -> None:
    now = clock.now()
    one = handed_over(since=timedelta(hours=3), tier="model", deadline=now + timedelta(hours=1))

    assert found() == []
    assert monitor.stalled(now) == []
    Cycle.objects.filter(execution_id=one.id).update(deadline=now + timedelta(minutes=50))
    assert found(name="later") == [key(one)]


def test_the_time_that_a_cycle_waits_for_an_agent_is_not_unusual() -> None:
    of = schedule()
    ended("completed", schedule_id=of.id, number=20, minutes=1)  # each took a second
    waiting = handed_over(since=timedelta(minutes=10), stage=CycleStage.WAIT)
    Execution.objects.filter(id=waiting.id).update(schedule_id=of.id)

    assert found(p95_factor=3) == []
    Cycle.objects.filter(execution_id=waiting.id).update(stage=CycleStage.PLAN)
    assert found(name="later", p95_factor=3) == [key(waiting)]


def test_a_cycle_without_a_sign_of_life_is_stalled_until_it_gives_one() -> None:
    silent = handed_over()
    running = step(silent, status="running", lease_expires_at=clock.now() - 2 * LEASE)
    watched = rule("stalled_execution")

    (alert,) = look(watched)

    assert f"#{silent.number} of 'think' gave no sign of life for" in alert.message
    assert alert.message.endswith("its cycle stands at 'execute'")
    assert alert.details["stage"] == "execute"
    assert firing() == [key(silent)]

    Step.objects.filter(id=running.id).update(lease_expires_at=clock.now() + LEASE)
    looks(watched, times=2)
    assert Alert.objects.get().status == "resolved"


def test_a_cycle_of_an_earlier_attempt_says_nothing_of_a_worker_that_is_silent() -> None:
    alive = renewed(clock.now())
    silent = handed_over(token=uuid4(), stage=CycleStage.PLAN, **alive)
    approved = handed_over(status=CycleStatus.WAITING, stage=CycleStage.PLAN, **alive)

    assert found() == sorted([key(silent), key(approved)])


@pytest.mark.parametrize(
    ("heartbeat_ms", "silent_for", "is_found"),
    [
        (1_000, 1.9 * LEASE, False),
        (1_000, 2.1 * LEASE, True),
        (3_600_000, 5 * LEASE, False),
    ],
)
def test_a_cycle_may_be_silent_for_two_leases_or_longer_if_the_rule_says_so(
    heartbeat_ms: int, silent_for: timedelta, is_found: bool
) -> None:
    handed_over(since=silent_for)

    assert bool(found(heartbeat_ms=heartbeat_ms)) is is_found


def test_the_time_limit_of_a_cycle_is_over_at_its_deadline() -> None:
    now = clock.now()
    waited_first = {"since": timedelta(hours=3), "stage": CycleStage.PLAN, **renewed(now)}
    handed_over(**waited_first, deadline=now + timedelta(minutes=1))
    late = handed_over(**waited_first, deadline=now - timedelta(minutes=2))

    (alert,) = look(rule("stalled_execution"))

    assert alert.key == key(late)
    assert "runs for 1 h 2 min, its time limit is 1 h" in alert.message


def test_alerts_and_the_cycles_own_watch_agree_about_which_are_stalled() -> None:
    now = clock.now()
    for since in (1.9 * LEASE, 2.1 * LEASE, 5 * LEASE):
        handed_over(since=since)
    for renewed_at in (now, now - 1.9 * LEASE, now - 2.1 * LEASE):
        handed_over(stage=CycleStage.SUMMARISE, **renewed(renewed_at))
        step(handed_over(), status="running", lease_expires_at=renewed_at + LEASE)
        step(handed_over(), status="failed", completed_at=renewed_at)
        step(handed_over(), created_at=renewed_at)
        step(handed_over(), started_at=renewed_at)
        handed_over(started_at=renewed_at)
    handed_over(stage=CycleStage.WAIT)

    by_monitor = {one.execution_id for one in monitor.stalled(now)}

    assert found() == sorted(f"{one}:{1}" for one in by_monitor)
    assert 0 < len(by_monitor) < Cycle.objects.count()
