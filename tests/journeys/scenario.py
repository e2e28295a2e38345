"""What a journey says and sees: schedules of the `act` handler, and the rows that come of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model

from agents_app.handlers import registry
from errors_app.models import DeadLetter, ErrorRecord
from executions_app import lifecycle
from executions_app.audit import SYSTEM
from executions_app.models import Event, Execution
from executions_app.states import ACTIVE, ExecutionStatus, IllegalMove, LostRace
from scheduler_app import definition, schedules
from scheduler_app import system as switch
from scheduler_app.models import Schedule
from tests.journeys.handlers import Act
from tests.journeys.services import system
from tests.processes import LONGEST_SECONDS, System

SOON = {"base_ms": 20, "cap_ms": 20, "jitter": "none"}
NEVER = {"base_ms": 3_600_000, "cap_ms": 3_600_000, "jitter": "none"}
EXTRA_HANDLERS = f"act={Act.__module__}.{Act.__qualname__}"
_numbers = itertools.count(1)


@contextmanager
def running(folder: Path, *, threads: int, **environment: str) -> Iterator[System]:
    """A system with one beat and one worker that knows the `act` handler."""
    registry.register("act")(Act)
    try:
        with system(folder, **{"EXTRA_HANDLERS": EXTRA_HANDLERS, **environment}) as made:
            made.beat()
            made.worker(threads=threads)
            made.wait_ready()
            yield made
    finally:
        registry._registered.pop("act")


def owner_id() -> int:
    users = get_user_model().objects
    user, _ = users.get_or_create(username="somebody", is_superuser=True)
    return int(user.pk)


def schedule(act: dict[str, Any] | None = None, **words: Any) -> Schedule:
    """A schedule of the `act` handler, manual unless `words` say when it fires."""
    when = {} if "schedule_type" in words else {"trigger_type": "manual"}
    said = {"name": f"s{next(_numbers)}", "task_type": "act", "task_config": act or {}}
    policy = {"retry_policy": {"max_retries": 0, **SOON}}
    parsed = definition.parse({**said, **when, **policy, **words})
    return schedules.create(parsed, owner_id=owner_id(), actor=SYSTEM)


def run(act: dict[str, Any] | None = None, **words: Any) -> UUID:
    """An execution by hand of a schedule of its own."""
    return schedules.trigger(schedule(act, **words), actor=SYSTEM)


def retries(most: int, **pace: Any) -> dict[str, Any]:
    return {"max_retries": most, **(pace or SOON)}


def every(seconds: float, **words: Any) -> dict[str, Any]:
    rule = {"schedule_type": "interval", "schedule_config": {"interval_ms": int(seconds * 1000)}}
    return {**rule, **words}


def one(execution_id: UUID) -> Execution:
    return Execution.objects.get(id=execution_id)


def status(execution_id: UUID) -> str:
    return one(execution_id).status


def moves(execution_id: UUID) -> list[str]:
    """The states an execution went through, as its events tell; progress and requests left out."""
    said = Event.objects.filter(
        execution_id=execution_id,
        topic=f"execution:{execution_id}",
        type__startswith="execution:",
    )
    told = said.exclude(type__in=["execution:progress", "execution:cancel_requested"])
    return [one.data["status"] for one in told.order_by("xid", "id")]


def errors(execution_id: UUID) -> list[ErrorRecord]:
    return list(ErrorRecord.objects.filter(execution_id=execution_id).order_by("attempt", "id"))


def recovery_statuses(execution_id: UUID) -> list[str]:
    return [one.recovery_status for one in errors(execution_id)]


def letter(execution_id: UUID) -> DeadLetter:
    return DeadLetter.objects.get(execution_id=execution_id, handling="")


def reaches(
    system: System, execution_id: UUID, wanted: str, *, seconds: float = LONGEST_SECONDS
) -> Execution:
    """Wait for a state; fails with the state it stands in instead."""
    try:
        system.until(
            lambda: status(execution_id) == wanted, what=f"it is {wanted}", seconds=seconds
        )
    except AssertionError as error:
        raise AssertionError(f"it is {status(execution_id)}: {error}") from None
    return one(execution_id)


def begun(system: System, execution_id: UUID) -> int:
    """How many runs of an execution its handler has begun."""
    entries = Counter(one["execution"] for one in system.entries() if one["what"] == "began")
    return entries[str(execution_id)]


def clear(system: System) -> None:
    """Leave nothing of a journey behind that moves: no schedule, no active execution."""
    system.resume()
    if not switch.read().scheduler_running:
        switch.start(SYSTEM)
    for left in Schedule.objects.order_by("-id"):  # dependents before what they depend on
        schedules.delete(left.id, actor=SYSTEM)
    system.until(_nothing_moves, what="everything was cancelled")


def _nothing_moves() -> bool:
    active = list(Execution.objects.filter(status__in=ACTIVE))
    for execution in active:
        if execution.status != ExecutionStatus.RUNNING or not execution.cancel_requested_at:
            with suppress(IllegalMove, LostRace):  # it may end meanwhile
                lifecycle.cancel(execution)
    return not active
