"""Each overlap policy while a run takes longer than its cadence, on a real beat and worker."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from executions_app import lifecycle, overlaps
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.models import FireRecord, Schedule
from tests.journeys.scenario import every, schedule
from tests.processes import System

pytestmark = pytest.mark.journey


def slow(gate: Path, policy: str, **words: object) -> Schedule:
    """It fires every second, and its runs wait for the gate."""
    return schedule({"until": str(gate)}, **every(1, overlap_policy=policy, **words))


def made(of: Schedule) -> list[Execution]:
    return list(Execution.objects.filter(schedule_id=of.id).order_by("nominal_at"))


def reasons(of: Schedule) -> Counter[str]:
    return Counter(FireRecord.objects.filter(schedule_id=of.id).values_list("reason", flat=True))


def held(of: Schedule) -> list[Execution]:
    return [one for one in made(of) if one.held_by == overlaps.held_by(of.id)]


def open_and_finish(system: System, gate: Path, of: Schedule) -> list[Execution]:
    """No more fires; what there is runs to its end."""
    schedules.disable(of.id, actor=SYSTEM)
    gate.touch()
    system.until(
        lambda: all(one.completed_at is not None for one in made(of)), what="all have ended"
    )
    return made(of)


def ran_one_at_a_time(executions: list[Execution]) -> bool:
    ran = [one for one in executions if one.started_at is not None]
    return all(
        earlier.completed_at is not None
        and later.started_at is not None
        and earlier.completed_at <= later.started_at
        for earlier, later in pairwise(ran)
    )


def each_fire_has_its_execution(of: Schedule) -> bool:
    fires = FireRecord.objects.filter(schedule_id=of.id, reason="dispatched")
    made_by_fires = set(fires.values_list("execution_id", flat=True))
    return made_by_fires == {one.id for one in made(of)}


def test_skip_runs_nothing_beside_a_run(system: System, gate: Path) -> None:
    steady = slow(gate, "skip")

    system.until(
        lambda: reasons(steady)["skipped_overlap"] >= 2 and made(steady)[0].status == "running",
        what="two fires were skipped beside a run",
    )

    while_it_ran = made(steady)
    ended = open_and_finish(system, gate, steady)
    assert len(while_it_ran) == 1
    assert {one.status for one in ended} == {"completed"}
    assert ran_one_at_a_time(ended)
    assert each_fire_has_its_execution(steady)


def test_buffer_one_lets_a_single_one_wait(system: System, gate: Path) -> None:
    steady = slow(gate, "buffer_one")

    system.until(
        lambda: reasons(steady)["skipped_overlap"] >= 2 and made(steady)[0].status == "running",
        what="two fires were skipped beside a run",
    )

    while_it_ran = [one.status for one in made(steady)]
    waiting = held(steady)
    ended = open_and_finish(system, gate, steady)
    assert (while_it_ran, len(waiting)) == (["running", "pending"], 1)
    assert [one.status for one in ended[:2]] == ["completed", "completed"]
    assert ran_one_at_a_time(ended)
    assert each_fire_has_its_execution(steady)


def test_buffer_all_runs_every_fire_one_after_the_other(system: System, gate: Path) -> None:
    steady = slow(gate, "buffer_all", buffer_limit=3)

    system.until(lambda: reasons(steady)["skipped_overlap"] >= 1, what="the buffer is full")

    waiting = held(steady)
    ended = open_and_finish(system, gate, steady)
    assert len(waiting) == 3
    assert len(ended) >= 4
    assert {one.status for one in ended} == {"completed"}
    assert ran_one_at_a_time(ended)
    assert each_fire_has_its_execution(steady)


def test_cancel_running_gives_way_to_the_newest(system: System, gate: Path) -> None:
    steady = slow(gate, "cancel_running")

    def cancelled_while_running() -> list[Execution]:
        ended = [one for one in made(steady) if one.status == "cancelled"]
        return [one for one in ended if one.started_at is not None]

    system.until(lambda: len(cancelled_while_running()) >= 2, what="two runs gave way")

    ended = open_and_finish(system, gate, steady)
    assert ended[-1].status == "completed"
    assert {one.status for one in ended} == {"cancelled", "completed"}
    assert ran_one_at_a_time(ended)
    # Of fires that are looked at late, together, only the newest runs.
    assert set(reasons(steady)) <= {"dispatched", "missed_coalesced"}
    assert each_fire_has_its_execution(steady)


def test_allow_queues_every_fire_beside_the_run(system: System, gate: Path) -> None:
    steady = slow(gate, "allow", catchup_policy="all", catchup_limit=100)

    system.until(
        lambda: [one.status for one in made(steady)][:3] == ["running", "queued", "queued"],
        what="two wait beside the run",
    )

    ended = open_and_finish(system, gate, steady)
    assert {one.status for one in ended} == {"completed"}
    assert set(reasons(steady)) == {"dispatched"}
    assert each_fire_has_its_execution(steady)


def test_what_waits_for_a_cancelled_run_is_let_go(system: System, gate: Path) -> None:
    steady = slow(gate, "buffer_one")
    system.until(lambda: held(steady), what="one waits")
    first, second, *_ = made(steady)
    schedules.disable(steady.id, actor=SYSTEM)

    lifecycle.cancel(first)

    system.until(
        lambda: Execution.objects.get(id=second.id).status == "running", what="the second runs"
    )
    assert Execution.objects.get(id=first.id).status == "cancelled"
