"""A pause lasts as long as it was meant to, on a real beat and a real worker."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.definition import InvalidDefinition
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
    paused_at, until = paused_for_some_fires(steady)

    system.until(
        lambda: "skipped_paused" in reasons(steady).values() and max(reasons(steady)) > until,
        what="it fires after the pause, whose fires are recorded",
    )
    schedules.disable(steady.id, actor=SYSTEM)

    recorded = reasons(steady)
    first, last = min(recorded), max(recorded)
    count = (last - first) // timedelta(seconds=1) + 1
    assert sorted(recorded) == [first + place * timedelta(seconds=1) for place in range(count)]
    written_ahead = timedelta(seconds=0.5)  # such a fire may stand there already
    passed = {reason for at, reason in recorded.items() if paused_at + written_ahead < at <= until}
    assert passed == {"skipped_paused"}


def paused_for_some_fires(of: Schedule) -> tuple[datetime, datetime]:
    """When it was paused at the latest, and until when; for longer where that took its time."""
    for seconds in (2.5, 15, 60):
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        with suppress(InvalidDefinition):  # its end has passed
            schedules.pause(of.id, reason="", until=until, actor=SYSTEM)
        paused_at = datetime.now(UTC)
        if until - paused_at > timedelta(seconds=1.6):
            return paused_at, until
    raise AssertionError("it took too long to pause it")
