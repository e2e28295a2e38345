"""What no clock starts, under a key and a window: put off, it still starts inside the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from executions_app import clock
from executions_app.models import Execution
from executions_app.states import Trigger
from scheduler_app.models import Schedule
from scheduler_app.policies import FireReason
from scheduler_app.sources import starting
from scheduler_app.sources.starting import Cause, Started
from tests.scheduler_app.conftest import in_days, midnight_in

MakeSchedule = Callable[..., Schedule]


def start(schedule: Schedule, **parameters: Any) -> Started:
    with transaction.atomic():
        locked = Schedule.objects.select_for_update().get(id=schedule.id)
        return starting.start(locked, Cause(Trigger.EVENT, parameters), now=clock.now())


@pytest.mark.django_db
def test_an_event_that_puts_off_its_work_puts_it_off_into_the_window(
    make_schedule: MakeSchedule,
) -> None:
    schedule = make_schedule(
        trigger_type="event_driven",
        trigger_config={"source": "internal", "event": "execution:failed"},
        schedule_type="",
        schedule_config={},
        execution_window=in_days(0),
        unique_key="k",
        unique_mode="debounce",
        unique_for_ms=25 * 3_600_000,
    )

    first = start(schedule, call=1)
    due_at = Execution.objects.get().due_at
    again = start(schedule, call=2)

    waiting = Execution.objects.get()
    assert waiting.id == first.execution_id
    assert (first.reason, again.reason) == (FireReason.DISPATCHED, FireReason.SKIPPED_DUPLICATE)
    assert due_at == waiting.due_at == midnight_in(7)
    assert waiting.parameters == {"call": 2}
