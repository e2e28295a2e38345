"""From a rule, a click or a stray message to what runs, on a real beat and a real worker."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from django.db import connection

from errors_app.models import ErrorRecord
from executions_app import lifecycle, outbox
from executions_app.audit import SYSTEM
from executions_app.ids import new as new_id
from executions_app.models import Event, Execution
from executions_app.states import Trigger
from scheduler_app import envelopes, queues, schedules
from scheduler_app import system as switch
from scheduler_app.definition import InvalidDefinition
from scheduler_app.models import FireRecord, Schedule
from tests.journeys import scenario
from tests.journeys.scenario import begun, every, one, reaches, run, schedule, status
from tests.processes import System

pytestmark = pytest.mark.journey

GARBAGE = ["garbage{", "null"]
# Every fire runs, however late.
EACH: dict[str, Any] = {"catchup_policy": "all", "catchup_limit": 100}


def completed(of: Schedule) -> list[Execution]:
    return list(Execution.objects.filter(schedule_id=of.id, status="completed").order_by("id"))


def fires(of: Schedule) -> list[FireRecord]:
    return list(FireRecord.objects.filter(schedule_id=of.id).order_by("nominal_at"))


def force(of: Schedule, **columns: Any) -> None:
    """Put into the row what no door lets in."""
    names = ", ".join(f"{name} = %s" for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE task_schedules SET {names} WHERE id = %s", [*columns.values(), of.id]
        )


def due_now(of: Schedule) -> datetime:
    """Let the next run of a schedule be the instant it would have been a moment ago."""
    instant = datetime.now(UTC).replace(second=0, microsecond=0)
    force(of, next_run_at=instant)
    return instant


def test_an_interval_fires_on_its_grid(system: System) -> None:
    steady = schedule(**every(1, overlap_policy="allow", **EACH))

    system.until(lambda: len(completed(steady)) >= 3, what="three fires completed")

    schedules.disable(steady.id, actor=SYSTEM)
    grid = [steady.anchor_at + timedelta(seconds=1) * k for k in range(1, len(fires(steady)) + 1)]
    assert [fire.nominal_at for fire in fires(steady)] == grid
    assert {fire.reason for fire in fires(steady)} == {"dispatched"}
    ran = {fire.execution_id for fire in fires(steady)}
    assert ran == set(Execution.objects.filter(schedule_id=steady.id).values_list("id", flat=True))


def test_a_cron_rule_fires_once_for_its_minute_and_moves_on(system: System) -> None:
    rule: dict[str, Any] = {"schedule_type": "cron", "schedule_config": {"cron": "* * * * *"}}
    # Where the minute ends meanwhile, both it and the next one run.
    each_minute = schedule(timezone="Asia/Kathmandu", overlap_policy="allow", **rule, **EACH)
    nominal_at = due_now(each_minute)

    system.until(lambda: completed(each_minute), what="the fire completed")

    each_minute.refresh_from_db()
    assert each_minute.next_run_at is not None
    assert each_minute.next_run_at > nominal_at
    assert completed(each_minute)[0].nominal_at == fires(each_minute)[0].nominal_at == nominal_at


def test_a_one_time_schedule_fires_once_and_is_finished(system: System) -> None:
    once, at = made_before_its_instant()

    system.until(lambda: completed(once), what="it ran")

    once.refresh_from_db()
    ran = completed(once)[0]
    assert ran.started_at is not None
    assert ran.started_at >= at
    assert (once.enabled, once.next_run_at, len(fires(once))) == (False, None, 1)


def made_before_its_instant() -> tuple[Schedule, datetime]:
    """A schedule that runs soon; later where it could not be made in time."""
    for seconds in (0.4, 5, 60):
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        run_at = {"run_at": at.isoformat()}
        with suppress(InvalidDefinition):
            return schedule(schedule_type="one_time", schedule_config=run_at), at
    raise AssertionError("it took too long to make it")


def test_a_person_runs_a_disabled_schedule_with_parameters(system: System) -> None:
    idle = schedule(**every(3600), enabled=False)

    execution = schedules.trigger(idle, actor=SYSTEM, parameters={"for": "today"})

    done = reaches(system, execution, "completed")
    assert (done.trigger, done.parameters, done.nominal_at) == ("manual", {"for": "today"}, None)
    assert fires(idle) == []


def test_critical_starts_before_high_before_normal_before_low(system: System, gate: Path) -> None:
    busy = run({"until": str(gate)})
    reaches(system, busy, "running")
    wanted = ["low", "normal", "high", "critical"] * 3
    waiting = [run(priority=priority) for priority in wanted]
    system.until(lambda: sum(queues.depths().values()) >= len(waiting), what="all are queued")

    gate.touch()

    for execution in waiting:
        reaches(system, execution, "completed")
    by_start = Execution.objects.filter(id__in=waiting).order_by("started_at")
    started = list(by_start.values_list("priority", flat=True))
    assert started == ["critical"] * 3 + ["high"] * 3 + ["normal"] * 3 + ["low"] * 3


def test_a_message_that_comes_five_times_is_one_attempt(system: System, gate: Path) -> None:
    busy = run({"until": str(gate)})
    reaches(system, busy, "running")
    execution = run()
    for _ in range(4):
        queues.publish([outbox.Message(execution, "normal")])

    gate.touch()

    reaches(system, execution, "completed")
    reaches(system, run(), "completed")
    assert (one(execution).attempt, begun(system, execution)) == (1, 1)


@pytest.mark.parametrize(
    "corruption",
    [
        {"schedule_config": json.dumps({"cron": "0 0 30 2 *"}), "schedule_type": "cron"},
        {"schedule_config": json.dumps({"cron": "R * * * *"}), "schedule_type": "cron"},
        {"schedule_config": json.dumps(["no", "object"])},
        {"schedule_type": "lunar"},
        {"timezone": "Mars/Olympus"},
        {"retry_policy": json.dumps({"max_retries": "many"})},
    ],
    ids=["never", "random", "list", "unknown", "zone", "policy"],
)
def test_a_corrupt_row_disables_itself_and_nobody_else(
    system: System, corruption: dict[str, Any]
) -> None:
    beat = system.beat()
    beat.pause()
    corrupt, sound = schedule(**every(3600)), schedule(**every(3600))
    force(corrupt, **corruption)
    nominal = [due_now(corrupt), due_now(sound)]

    beat.resume()

    system.until(lambda: completed(sound), what="the sound one ran")
    corrupt.refresh_from_db()
    sound.refresh_from_db()
    corrected = schedules.update(
        corrupt.id, schedules.current(sound).model_copy(update={"name": corrupt.name}), actor=SYSTEM
    )
    assert corrected.enabled
    assert (corrupt.enabled, corrupt.next_run_at) == (False, None)
    assert corrupt.pause_reason.startswith("cannot be dispatched")
    assert ErrorRecord.objects.get(schedule_id=corrupt.id).recovery_status == "escalated"
    assert sound.enabled
    assert [fire.nominal_at for fire in fires(sound)] == nominal[1:]


def test_garbage_in_a_queue_harms_nothing_but_the_worker_that_took_it(system: System) -> None:
    worker = system.worker()
    for garbage in GARBAGE:
        system.broker.lpush("critical", garbage)
    system.broker.lpush("critical", stray(task="nobody.knows"), stray(execution_ids=["no-uuid"]))
    system.broker.lpush("critical", stray(execution_ids=[str(new_id(datetime.now(UTC)))]))
    behind = [run(priority="critical"), run()]

    for execution in behind:
        assert reaches(system, execution, "completed").attempt == 1

    log = worker.log.read_text()
    assert "nobody.knows" in log
    assert "A message could not be carried out" in log


def stray(*, task: str = "", **said: Any) -> str:
    envelope = json.loads(envelopes.build([[new_id(datetime.now(UTC))]], queue="critical")[0])
    if task:
        envelope["headers"]["task"] = task
    if said:
        body = json.dumps([[], said, envelopes.EMBED])
        envelope["body"] = base64.b64encode(body.encode()).decode()
    return json.dumps(envelope)


def test_a_stopped_system_dispatches_nothing_until_it_is_started(system: System) -> None:
    steady = schedule(**every(1, overlap_policy="allow"))
    system.until(lambda: completed(steady), what="it fires")

    stopped = switch.stop(SYSTEM)
    # A beat that has looked before the stop still does what it has seen.
    system.until(lambda: is_overdue(steady, by=0.5), what="the beat has seen it")
    by_hand = schedules.trigger(steady, actor=SYSTEM, source=Trigger.API)
    at_stop = len(fires(steady))
    system.until(lambda: is_overdue(steady, by=1.1), what="two fires were missed")
    in_between = (stopped.status, status(by_hand), len(fires(steady)) - at_stop)
    started = switch.start(SYSTEM)

    assert in_between == ("paused", "pending", 0)
    reaches(system, by_hand, "completed")
    system.until(lambda: len(fires(steady)) > at_stop + 1, what="it fires again")
    schedules.disable(steady.id, actor=SYSTEM)
    assert started.status == "running"
    reasons = {fire.reason for fire in fires(steady)}
    assert reasons == {"dispatched", "missed_coalesced"}


def is_overdue(of: Schedule, *, by: float) -> bool:
    of.refresh_from_db()
    assert of.next_run_at is not None
    return datetime.now(UTC) - of.next_run_at > timedelta(seconds=by)


def test_the_system_is_idle_without_schedules_and_running_with_one(system: System) -> None:
    system.until(lambda: switch.read().status == "idle", what="it is idle")

    steady = schedule(**every(3600))

    system.until(lambda: switch.read().status == "running", what="it is running")
    schedules.disable(steady.id, actor=SYSTEM)
    system.until(lambda: switch.read().status == "idle", what="it is idle again")


def test_a_job_beyond_its_time_limit_ends_as_a_timeout(system: System) -> None:
    long = run({"seconds": 600}, timeout_ms=1000)

    ended = reaches(system, long, "failed")

    assert ended.outcome == "timeout"
    assert ended.started_at is not None
    assert ended.completed_at is not None
    assert timedelta(seconds=1) <= ended.completed_at - ended.started_at < timedelta(seconds=60)
    assert scenario.errors(long)[0].error_class == "timeout"


def test_a_cancelled_shell_command_leaves_no_process_behind(system: System, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 300 & echo $$ $! > {pids}.draft; mv {pids}.draft {pids}; wait"
    command = {"command": ["/bin/sh", "-c", script]}
    execution = run(task_type="shell_command", task_config=command)
    system.until(pids.exists, what="the command runs")
    started = [int(word) for word in pids.read_text().split()]

    lifecycle.cancel(one(execution))

    reaches(system, execution, "cancelled")
    assert [pid for pid in started if is_running(pid)] == []


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_shell_command_ends_with_its_output(system: System) -> None:
    execution = run(task_type="shell_command", task_config={"command": ["echo", "good", "day"]})

    result = reaches(system, execution, "completed").result

    assert result is not None
    assert (result["exit_code"], result["stdout"]) == (0, "good day\n")


def test_progress_only_grows_and_ends_at_the_whole(system: System) -> None:
    execution = run({"seconds": 1.5, "steps": 100})

    progress = reaches(system, execution, "completed").progress

    told = progress_of(execution)
    assert [one["done"] for one in told] == sorted({one["done"] for one in told})
    assert 2 <= len(told) < 100
    assert (progress["done"], progress["total"], progress["percent"]) == (100, 100, 100)


def progress_of(execution_id: UUID) -> list[dict[str, Any]]:
    said = Event.objects.filter(execution_id=execution_id, type="execution:progress")
    return [one.data for one in said.order_by("xid", "id")]
