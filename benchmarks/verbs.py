"""Within the measured installation: what needs the product's own code, one function per verb."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from statistics import median
from typing import Any, Final, TypeVar
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import connection, transaction

from benchmarks import choosing_verbs, cycle_verbs
from benchmarks.handlers import TASK_TYPE
from benchmarks.quantities import percentile
from executions_app import clock, ids, lifecycle, partitions
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from executions_app.outbox import Message
from executions_app.states import ExecutionStatus, Trigger
from scheduler_app import definition, dispatcher, queues, schedules
from scheduler_app.beat import Metronome
from scheduler_app.limiting import limits
from scheduler_app.models import Schedule

Thing = TypeVar("Thing")

AT_ONCE: Final = 1_000
GIVE_UP_SECONDS: Final = 120.0
LOOK_SECONDS: Final = 0.005
LATER: Final = timedelta(hours=1)
SNAPSHOT: Final = {
    "name": "benchmark",
    "timeout_ms": 300_000,
    "overlap_policy": "skip",
    "version": 1,
}


def prepare() -> dict[str, Any]:
    """The partitions of now and an owner for what follows."""
    partitions.ensure_ahead(clock.now())
    return {"owner": _owner_id()}


def queue(
    *,
    count: int,
    priority: str = "normal",
    task_type: str = TASK_TYPE,
    task_config: Mapping[str, Any] | None = None,
    predicted_ms: float | None = None,
    most_per_message: int | None = None,
) -> dict[str, Any]:
    """Queued executions, committed and then published as the dispatcher publishes them."""
    made = _create(count, priority=priority, task_type=task_type, task_config=task_config or {})
    messages = [_message(one, priority, predicted_ms) for one in made]
    began = time.time()
    sent = _publish(messages, most_per_message)
    return {"published_at": began, "took": time.time() - began, "messages": sent}


def urgent(*, backlog: int, backlog_seconds: float, count: int) -> dict[str, Any]:
    """A backlog of low priority that is being worked on, and then critical work."""
    slow = {"seconds": backlog_seconds, "is_clocked": True}
    low = _create(backlog, priority="low", task_type=TASK_TYPE, task_config=slow)
    critical = _create(
        count, priority="critical", task_type=TASK_TYPE, task_config={"is_clocked": True}
    )
    _publish([_message(one, "low", backlog_seconds * 1_000) for one in low], None)
    _until(lambda: _is_completed(low[:AT_ONCE], enough=backlog // 20))
    began = time.time()
    _publish([_message(one, "critical", None) for one in critical], None)
    return {"published_at": began, "critical": [str(one) for one in critical]}


def limit(*, key: str, most: int | None) -> dict[str, Any]:
    """Let so many executions of a key be active at once; None lifts the limit."""
    if most is None:
        limits.remove(key, actor=SYSTEM)
    else:
        limits.put(limits.parse({"key": key, "max_concurrent": most}), actor=SYSTEM)
    return {}


def tenants(
    *, loud: int, loud_seconds: float, quiet: int, rounds: int, pause_seconds: float
) -> dict[str, Any]:
    """One tenant's many executions, held; then one of each quiet tenant, again and again.

    Answers when each execution of a quiet tenant was wanted, in seconds since the epoch.
    """
    kind = {"priority": "normal", "task_type": TASK_TYPE, "status": ExecutionStatus.PENDING}
    slow, clocked = {"seconds": loud_seconds}, {"is_clocked": True}
    later = clock.now() + LATER
    made = [
        _create(rounds, task_config=clocked, limit_key=f"tenant:{one}", due_at=later, **kind)
        for one in range(quiet)
    ]
    _create(loud, task_config=slow, limit_key="tenant:loud", **kind)
    due = Execution.objects.filter(status="pending", held_by="", due_at__lt=later)
    _until(lambda: not due.exists())
    wanted: dict[str, float] = {}
    for ids_ in zip(*made, strict=True):
        at = time.time()
        lifecycle.due_now(ids_)
        dispatcher.release_due_if_running(ids_)
        wanted |= dict.fromkeys(map(str, ids_), at)
        time.sleep(pause_seconds)
    return {"wanted": wanted}


def fill(*, count: int, task_config: Mapping[str, Any], task_type: str) -> dict[str, Any]:
    """`count` schedules, far from due, of 16 intervals and with a history of short runs."""
    owner = _owner_id()
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")  # a million rows take their time
        cursor.execute("TRUNCATE task_schedules CASCADE")
        one = definition.parse(
            {
                "name": "model",
                "schedule_type": "interval",
                "schedule_config": {"every": "1 day"},
                "task_type": task_type,
                "task_config": dict(task_config),
            }
        )
        model = schedules.create(one, owner_id=owner, actor=SYSTEM)
        cursor.execute(_cloning(), [count])
        cursor.execute("DELETE FROM task_schedules WHERE id = %s", [model.id])
        cursor.execute("VACUUM ANALYZE task_schedules")
    return {}


def _cloning() -> str:
    """The statement that copies the one schedule, whatever columns it has."""
    own = {
        "id": "cadenza_uuid7(now())",
        "name": "'benchmark ' || n",
        "schedule_config": "jsonb_build_object('interval_ms', 3600000 * (24 + n %% 16))",
        "anchor_at": "now()",
        "next_run_at": "now() + interval '1 day' + n %% 3600 * interval '1 second'",
    }
    fields = Schedule._meta.concrete_fields  # noqa: SLF001  Django's documented API
    columns = [str(field.column) for field in fields if not field.generated]
    chosen = ", ".join(own.get(one, f'"{one}"') for one in columns)
    names = ", ".join(f'"{one}"' for one in columns)
    return (
        f"INSERT INTO task_schedules ({names}) "
        f"SELECT {chosen} FROM task_schedules, generate_series(1, %s) AS n"
    )


def ticks(*, count: int, edits: int) -> dict[str, Any]:
    """Idle rounds of a beat in milliseconds; then rounds right after one schedule was edited."""
    metronome = Metronome()
    metronome.beat()
    idle = [_timed(metronome.beat) for _ in range(count)]
    edited = [_edit(metronome) for _ in range(edits)]
    return {
        "p50_ms": percentile(idle, 50),
        "p95_ms": percentile(idle, 95),
        "edit_ms": median(took for took, _, _ in edited),
        "after_edit_ms": median(took for _, took, _ in edited),
        "seen": all(seen for _, _, seen in edited),
    }


def _edit(metronome: Metronome) -> tuple[float, float, bool]:
    """Edit the schedule that is due next, then beat: both in milliseconds, and if it was seen."""
    schedule = Schedule.objects.filter(enabled=True).order_by("next_run_at")[0]
    words = definition.parse(
        {
            "name": schedule.name,
            "schedule_type": "interval",
            "schedule_config": {"interval_ms": 1_000},
            "task_type": schedule.task_type,
            "task_config": schedule.task_config,
        }
    )
    edit = _timed(lambda: schedules.update(schedule.id, words, actor=SYSTEM))
    planned = Schedule.objects.get(id=schedule.id).next_run_at
    assert planned is not None
    left = (planned - clock.now()).total_seconds()
    began = time.perf_counter()
    rest = metronome.beat()
    after = (time.perf_counter() - began) * 1000
    Schedule.objects.filter(id=schedule.id).update(next_run_at=schedule.next_run_at)
    return edit, after, rest <= left + 0.001


def _create(
    count: int, *, priority: str, task_type: str, task_config: Mapping[str, Any], **more: Any
) -> list[UUID]:
    owner, now = _owner_id(), clock.now()
    policy = definition.completed_policy({}).model_dump(mode="json")
    snapshot = {
        **SNAPSHOT,
        "task_type": task_type,
        "task_config": dict(task_config),
        "retry_policy": policy,
    }
    made = [ids.new(now) for _ in range(count)]
    for some in _batches(made):
        with transaction.atomic():
            lifecycle.create(
                [
                    lifecycle.NewExecution(
                        id=one,
                        schedule_id=None,
                        owner_id=owner,
                        snapshot=snapshot,
                        trigger=Trigger.MANUAL,
                        priority=priority,
                        max_attempts=4,
                        **{"due_at": now, "status": ExecutionStatus.QUEUED, **more},
                    )
                    for one in some
                ]
            )
    return made


def _message(execution_id: UUID, queue: str, predicted_ms: float | None) -> Message:
    if predicted_ms is None:
        return Message(execution_id, queue)
    return Message(execution_id, queue, predicted_ms=predicted_ms, task_type=TASK_TYPE)


def _publish(messages: Sequence[Message], most_per_message: int | None) -> int:
    return sum(
        queues.publish(some, most_per_message=most_per_message) for some in _batches(messages)
    )


def _batches(things: Iterable[Thing]) -> Iterator[list[Thing]]:
    rest = iter(things)
    while some := list(islice(rest, AT_ONCE)):
        yield some


def _is_completed(ids_: Sequence[UUID], *, enough: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) >= %s FROM task_executions"
            " WHERE id = ANY(%s::uuid[]) AND status = 'completed'",
            [enough, list(ids_)],
        )
        return bool(cursor.fetchone()[0])


def _owner_id() -> int:
    user, _ = get_user_model().objects.get_or_create(username="benchmark")
    return int(user.pk)


def _timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


def _until(look: Callable[[], bool]) -> None:
    ends = time.monotonic() + GIVE_UP_SECONDS
    while not look():
        if time.monotonic() > ends:
            raise TimeoutError("The workers did not come as far in time")
        time.sleep(LOOK_SECONDS)


VERBS: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    "prepare": prepare,
    "queue": queue,
    "urgent": urgent,
    "limit": limit,
    "tenants": tenants,
    "fill": fill,
    "ticks": ticks,
    "agent": cycle_verbs.agent,
    "cycles": cycle_verbs.cycles,
    "choose": choosing_verbs.choose,
}
