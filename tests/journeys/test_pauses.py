"""A pause lasts as long as it was meant to, on a real beat and a real worker."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.models import FireRecord, Schedule
from tests.journeys.scenario import every, schedule
from tests.processes import System

pytestmark = pytest.mark.journey


def reasons(of: Schedule) -> dict[datetime, str]:
    rows = FireRecord.objects.filter(schedule_id=of.id)
    return dict(rows.values_list("nominal_at", "reason"))


def is_off(of: Schedule) -> bool:
    of.refresh_from_db()
    return not of.enabled


def test_a_schedule_that_keeps_failing_pauses_itself(system: System) -> None:
    failing = schedule({"fails": 1}, **every(1, overlap_policy="allow"), pause_after_failures=2)

    system.until(lambda: is_off(failing), what="it paused itself")

    assert failing.pause_reason.startswith("paused by itself after")
    failed = Execution.objects.filter(schedule_id=failing.id, status="failed").count()
    assert failed >= 2


def test_each_fire_of_a_pause_is_recorded_and_none_is_missing(system: System) -> None:
    steady = schedule(**every(1, overlap_policy="allow"))
    system.until(lambda: reasons(steady), what="the first fire")
    until = datetime.now(UTC) + timedelta(seconds=2.5)
    schedules.pause(steady.id, reason="", until=until, actor=SYSTEM)

    system.until(
        lambda: "skipped_paused" in reasons(steady).values() and max(reasons(steady)) > until,
        what="it fires after the pause, whose fires are recorded",
    )
    schedules.disable(steady.id, actor=SYSTEM)

    recorded = reasons(steady)
    first, last = min(recorded), max(recorded)
    count = (last - first) // timedelta(seconds=1) + 1
    assert sorted(recorded) == [first + place * timedelta(seconds=1) for place in range(count)]
    passed = {
        reason for at, reason in recorded.items() if until - timedelta(seconds=2) <= at <= until
    }
    assert passed == {"skipped_paused"}
