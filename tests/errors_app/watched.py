"""Rules and what they look at, for the tests of alerts: rows as they are after some time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection

from errors_app.alerting import raising, rules, watch
from errors_app.alerting.findings import Finding
from errors_app.models import Alert, AlertRule
from executions_app import clock, ids
from executions_app.audit import SYSTEM
from executions_app.models import Execution, Process
from executions_app.states import ExecutionStatus
from tests.factories import ExecutionFactory, ScheduleFactory, UserFactory


def rule(kind: str, *, name: str = "", **words: Any) -> AlertRule:
    """A rule of a kind; `parameters` and the like as people give them."""
    return rules.create({"name": name or f"rule {kind}", "kind": kind, **words}, actor=SYSTEM)


def look(at: AlertRule) -> list[Finding]:
    """What the rule finds now, and that is settled."""
    firing = raising.firing_keys(at)
    found = watch.look_by(at, firing=firing)
    raising.settle(at, found, asked_about=firing)
    return found


def looks(at: AlertRule, *, times: int) -> None:
    for _ in range(times):
        look(at)


def firing() -> list[str]:
    """The keys of all alerts that are firing."""
    open_ = Alert.objects.filter(status="firing")
    return sorted(open_.values_list("key", flat=True))


def ago(**span: float) -> datetime:
    return clock.now() - timedelta(**span)


def owner() -> User:
    found: User = UserFactory.create()
    return found


def execution(made_as: ExecutionStatus = ExecutionStatus.QUEUED, /, **columns: Any) -> Execution:
    """An execution whose columns are then set as they are after some time."""
    made: Execution = ExecutionFactory.create(status=made_as)
    Execution.objects.filter(id=made.id).update(**columns)
    made.refresh_from_db()
    return made


def ended(status: str, *, schedule_id: UUID, number: int = 1, **span: float) -> None:
    """Executions of a schedule that ended some time ago."""
    for _ in range(number):
        execution(
            schedule_id=schedule_id,
            status=status,
            completed_at=ago(**span),
            started_at=ago(**span) - timedelta(seconds=1),
        )


def copies(of: Execution, *, number: int) -> None:
    """As many more of this execution, newer than all there are."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO task_executions SELECT (jsonb_populate_record("
            "e, jsonb_build_object('id', cadenza_uuid7(), 'number', e.number + n))).*"
            " FROM task_executions e CROSS JOIN generate_series(1, %s) AS n WHERE e.id = %s",
            [number, of.id],
        )


def schedule(**words: Any) -> Any:
    return ScheduleFactory.create(**words)


def process(
    kind: str, name: str, *, silent: float = 0, started: float = 3600, **columns: Any
) -> Process:
    """A process that was seen `silent` seconds ago and began `started` seconds ago."""
    times = {"seen_at": ago(seconds=silent), "started_at": ago(seconds=started)}
    keeper = Process(
        id=columns.pop("id", None) or ids.new(clock.now()),
        kind=kind,
        name=name,
        host=name.partition("@")[2],
        pid=1,
        **times,
        **columns,
    )
    keeper.save(force_insert=True)
    return keeper
