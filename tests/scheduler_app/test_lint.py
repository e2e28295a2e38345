"""What will go wrong is found, and what will not is left in peace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from executions_app import clock
from executions_app.audit import Actor
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app import explain, next_run, schedules, windows
from scheduler_app.coming import Prospect
from scheduler_app.doors import Doors
from scheduler_app.foresight import lint, lint_rows
from scheduler_app.foresight.lint import Looked
from scheduler_app.models import Schedule
from scheduler_app.policies import CatchupPolicy, OutsideWindow, OverlapPolicy
from tests.factories import ExecutionFactory

MakeSchedule = Callable[..., Schedule]
NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)
BERLIN = next_run.zone("Europe/Berlin")
ID = UUID(int=1)
MINUTE = timedelta(minutes=1)


def prospect(
    cron: str = "0 12 * * *",
    *,
    window: dict[str, Any] | None = None,
    outside: OutsideWindow = OutsideWindow.SKIP,
    jitter_ms: int = 0,
    **changes: Any,
) -> Prospect:
    rule = next_run.parse_rule("cron", {"cron": cron}, anchor_at=None)
    opening = windows.parse_window(window or {}, zone=BERLIN)
    doors = Doors(ID, windows.Openings(opening), outside, jitter_ms)
    values = {"next_run_at": next_run.next_run(rule, BERLIN, NOW), "doors": doors, **changes}
    return Prospect(ID, "a job", rule, BERLIN, **values)


def codes(prospect: Prospect | None, **changes: Any) -> set[str]:
    words: dict[str, Any] = {
        "now": NOW,
        "prospect": prospect,
        "enabled": True,
        "overlap": OverlapPolicy.SKIP,
        "catchup": CatchupPolicy.LATEST,
        "catchup_limit": 1,
        "task_config": {},
    }
    return {one.code for one in lint.findings(Looked(**{**words, **changes}))}


def test_an_ordinary_schedule_has_no_findings() -> None:
    assert codes(prospect()) == set()


@pytest.mark.parametrize(
    ("its", "changes", "code"),
    [
        (prospect(next_run_at=None), {}, "never_fires"),
        (prospect(runs_left=0), {}, "never_fires"),
        (prospect(ends_at=NOW), {}, "never_fires"),
        (prospect("0 20 * * *", window={"hours": ["09:00-17:00"]}), {}, "window_never_opens"),
        (prospect("0 12 * * 6", window={"weekdays": ["mon"]}), {}, "window_never_opens"),
        (prospect("30 2 * * *"), {}, "dst_trap"),
        (prospect("*/5 * * * *"), {"durations": (6 * MINUTE,) * 5}, "too_fast"),
        (prospect(), {"crowd": {datetime(2026, 11, 22, 11, tzinfo=UTC): 11}}, "collides"),
        (prospect(), {"catchup": CatchupPolicy.ALL}, "catchup_limit"),
        (prospect("* * * * *"), {"catchup": CatchupPolicy.ALL, "catchup_limit": 5},
         "catchup_limit"),
        (prospect(), {"limit_key": "tenant:{tenant}"}, "unknown_parameter"),
        (prospect(), {"unique_key": "{order.id}", "task_config": {"order": {}}},
         "unknown_parameter"),
        (prospect("* * * * *", jitter_ms=120_000), {}, "offset_overtakes"),
        (prospect(), {"run_ttl_ms": 500}, "expires_at_once"),
        (None, {"idle_upstreams": ("load",)}, "upstream_off"),
    ],
)  # fmt: skip
def test_a_fault_is_found(its: Prospect | None, changes: dict[str, Any], code: str) -> None:
    assert codes(its, **changes) == {code}


@pytest.mark.parametrize(
    ("its", "changes"),
    [
        (prospect(next_run_at=None), {"enabled": False}),
        (prospect("0 20 * * *", window={"hours": ["19:00-21:00"]}), {}),
        # Closed for more than the fires that are looked at, and open after them.
        (prospect("* * * * *", window={"hours": ["09:00-10:00"]}), {}),
        (prospect("0 20 * * *", window={"hours": ["09:00-17:00"]},
                  outside=OutsideWindow.NEXT_OPENING), {}),
        (prospect("30 12 * * *"), {}),
        (prospect("*/5 * * * *"), {"durations": (4 * MINUTE,) * 5}),
        (prospect("*/5 * * * *"), {"durations": (6 * MINUTE,) * 4}),
        (prospect(), {"crowd": {datetime(2026, 11, 22, 11, tzinfo=UTC): 10}}),
        (prospect(), {"catchup": CatchupPolicy.ALL, "catchup_limit": 3}),
        (prospect(), {"limit_key": "t:{a.b}", "task_config": {"a": {"b": "x"}}}),
        (None, {"limit_key": "tenant:{tenant}"}),
    ],
)  # fmt: skip
def test_what_will_do_is_left_in_peace(its: Prospect | None, changes: dict[str, Any]) -> None:
    assert codes(its, **changes) == set()


def test_every_code_of_the_closed_list_is_checked() -> None:
    found = test_a_fault_is_found.pytestmark[0].args[1]

    assert {case[2] for case in found} == set(lint.CODES)


def test_a_clock_change_is_told_as_the_preview_tells_it() -> None:
    rule = next_run.parse_rule("cron", {"cron": "30 2 * * *"}, anchor_at=None)
    told = explain.explain("30 2 * * *", "Europe/Berlin", after=NOW, count=1).warnings

    assert isinstance(rule, next_run.CronRule)
    assert tuple(explain.clock_changes(rule, BERLIN, after=NOW)) == told


def test_stored_durations_and_upstreams_are_looked_at(
    make_schedule: MakeSchedule, owner: User
) -> None:
    slow = make_schedule("slow")
    for _ in range(5):
        one = ExecutionFactory.create(owner=owner, schedule_id=slow.id)
        now = timezone.now()
        Execution.objects.filter(id=one.id).update(
            status=ExecutionStatus.COMPLETED,
            started_at=now - timedelta(minutes=2),
            completed_at=now,
        )
    after = make_schedule(
        "after",
        trigger_type="dependent",
        schedule_type="",
        schedule_config={},
        trigger_config={"upstreams": ["slow"]},
    )
    alone = make_schedule("alone")
    schedules.disable(slow.id, actor=Actor.of(owner))
    slow.refresh_from_db()
    slow.enabled = True  # as it was when its runs were recorded
    slow.next_run_at = next_run.calculate_next_run(slow, clock.now())

    found = lint_rows.read([slow, after, alone], now=clock.now())

    assert [[finding.code for finding in one.findings] for one in found] == [
        ["too_fast"], ["upstream_off"], [],
    ]  # fmt: skip


def test_many_in_one_minute_are_found_and_the_preview_warns(
    make_schedule: MakeSchedule,
) -> None:
    rows = [
        make_schedule(f"job {n}", schedule_type="cron", schedule_config={"cron": "0 * * * *"})
        for n in range(11)
    ]
    now = clock.now()
    fire = next_run.calculate_next_run(rows[0], now)
    assert fire is not None

    (found,) = lint_rows.read(rows[:1], now=now)

    assert [one.code for one in found.findings] == ["collides"]
    assert "10 other schedules" in found.findings[0].message
    assert "at least 11 other schedules" in lint_rows.collisions([fire])[0]
    assert lint_rows.collisions([fire + 2 * MINUTE]) == []
    assert lint_rows.collisions([]) == []


def test_a_schedule_that_fires_often_is_one_schedule(make_schedule: MakeSchedule) -> None:
    rows = [make_schedule(f"job {n}", schedule_config={"every": "1 second"}) for n in range(2)]

    found = lint_rows.read(rows, now=clock.now())

    assert [[finding.code for finding in one.findings] for one in found] == [[], []]


def test_a_broken_row_is_a_finding_and_not_an_error(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    schedule.schedule_config = {"interval_ms": -1}

    (found,) = lint_rows.read([schedule], now=clock.now())

    assert [one.code for one in found.findings] == [lint_rows.BROKEN]
