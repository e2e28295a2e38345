"""What the Overview shows: one look at everything, in a constant number of bounded statements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.contrib.auth.models import AbstractUser

from agents_app import tiers
from agents_app.tiers import Tiered
from errors_app.models import ErrorRecord
from executions_app import ids, ownership, wording
from executions_app.models import Execution
from executions_app.states import ACTIVE, TERMINAL, ExecutionStatus, Priority
from scheduler_app import chart, explain, next_run_source, system, vital_signs
from scheduler_app.models import Schedule
from scheduler_app.vital_signs import Sign, query

MOST_COUNTED: Final = 10_000
FIRES_SHOWN: Final = 10
EXECUTIONS_SHOWN: Final = 20
RECENT: Final = timedelta(hours=1)
FAILURES_SINCE: Final = timedelta(hours=24)
OVERDUE: Final = timedelta(seconds=5)
ORDER: Final = tuple(ExecutionStatus)


@dataclass(frozen=True, slots=True)
class Count:
    """Executions in one state; with `is_capped` there are at least so many."""

    status: str
    number: int
    is_capped: bool
    span: str


@dataclass(frozen=True, slots=True)
class Fire:
    """A schedule with its next fire and its rule in words.

    `decision_id` is the AI's decision that this fire comes from; None: from the rule.
    """

    schedule: Schedule
    rule: str
    is_overdue: bool
    decision_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One execution as a line: how long it took or has been running, and why it failed.

    `tiered` says how good the plan of an AI's execution was; None for others.
    """

    execution: Execution
    name: str
    duration: str
    headline: str
    percent: int | None
    tiered: Tiered | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Failed attempts of one class since FAILURES_SINCE, with the latest message."""

    error_class: str
    number: int
    is_capped: bool
    schedules: int
    last_at: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the page; `is_empty` while there is nothing to show yet."""

    now: datetime
    signs: list[Sign]
    problem: str
    counts: list[Count]
    chart: chart.Chart
    chart_is_partial: bool
    fires: list[Fire]
    rows: list[Row]
    failures: list[Failure]

    @property
    def is_empty(self) -> bool:
        return not self.fires and not self.rows


def read(user: AbstractUser, *, now: datetime) -> Overview:
    """One look, as far as `user` may see; the health strip is the same for everybody."""
    state = system.read()
    active = _active(user)
    recent, minutes, is_partial = _recent(user, now)
    return Overview(
        now=now,
        signs=vital_signs.read(state, active.oldest_queued, now=now),
        problem=state.problem,
        counts=[
            active.count(status)
            if status in ACTIVE
            else _count(status, recent.get(status, 0), is_partial=is_partial, span="last hour")
            for status in ORDER
        ],
        chart=chart.draw(minutes),
        chart_is_partial=is_partial,
        fires=_fires(user, now),
        rows=_rows(user, now),
        failures=_failures(user, now),
    )


def _count(status: str, number: int, *, is_partial: bool, span: str) -> Count:
    is_capped = is_partial or number > MOST_COUNTED
    return Count(status, min(number, MOST_COUNTED), is_capped, span)


def _only_own(user: AbstractUser) -> str:
    """The condition on owner_id, beside `%(owner)s`."""
    return "true" if user.is_superuser else "owner_id = %(owner)s"


@dataclass(frozen=True, slots=True)
class _Active:
    """How many executions stand in each state that is no end, and how many of them are held."""

    numbers: dict[str, int]
    oldest_queued: datetime | None
    held: int

    def count(self, status: str) -> Count:
        is_told = status == ExecutionStatus.PENDING and self.held
        span = f"now, {self.held} held" if is_told else "now"
        return _count(status, self.numbers.get(status, 0), is_partial=False, span=span)


def _active(user: AbstractUser) -> _Active:
    one = f"""(SELECT status, queued_at, held_by FROM task_executions
        WHERE status = '{{}}' AND {_only_own(user)} LIMIT {MOST_COUNTED + 1})"""  # noqa: S608  constants
    union = " UNION ALL ".join(one.format(status.value) for status in sorted(ACTIVE))
    rows = query(
        f"""SELECT status, count(*), min(queued_at), count(*) FILTER (WHERE held_by <> '')
        FROM ({union}) AS active GROUP BY status""",  # noqa: S608  constants
        {"owner": user.pk},
    )
    oldest = {status: at for status, _, at, _ in rows}.get(ExecutionStatus.QUEUED)
    numbers = {status: number for status, number, *_ in rows}
    return _Active(numbers, oldest, held=sum(row[3] for row in rows))


def _recent(
    user: AbstractUser, now: datetime
) -> tuple[dict[str, int], dict[int, chart.Minute], bool]:
    rows = query(
        f"""
        SELECT status, least(59, greatest(0, floor(
            extract(epoch FROM %(now)s - created_at) / 60)))::int AS ago, count(*)
        FROM (
            SELECT status, created_at FROM task_executions
            WHERE id >= %(since)s AND {_only_own(user)} ORDER BY id DESC LIMIT %(most)s
        ) AS recent GROUP BY status, ago
        """,  # noqa: S608  composed of constants
        {"owner": user.pk, "now": now, "since": ids.floor(now - RECENT), "most": MOST_COUNTED + 1},
    )
    by_status: dict[str, int] = {}
    by_minute: dict[int, dict[str, int]] = {}
    for status, ago, number in rows:
        by_status[status] = by_status.get(status, 0) + number
        kind = status if status in {"completed", "failed"} else "other"
        kinds = by_minute.setdefault(ago, {})
        kinds[kind] = kinds.get(kind, 0) + number
    minutes = {ago: chart.Minute(ago, **kinds) for ago, kinds in by_minute.items()}
    return by_status, minutes, sum(by_status.values()) > MOST_COUNTED


def _fires(user: AbstractUser, now: datetime) -> list[Fire]:
    upcoming = Schedule.objects.filter(enabled=True, next_run_at__isnull=False)
    upcoming = upcoming.order_by("next_run_at")
    if user.is_superuser:
        # The due index is by priority first: the next of each, and of these the next.
        first, *others = (upcoming.filter(priority=one)[:FIRES_SHOWN] for one in Priority)
        upcoming = first.union(*others, all=True).order_by("next_run_at")
    else:
        upcoming = upcoming.filter(owner_id=user.pk)
    found = list(upcoming[:FIRES_SHOWN])
    decided = next_run_source.decisions(found)
    return [
        Fire(
            schedule=one,
            rule=explain.describe(one.schedule_type, one.schedule_config, one.timezone),
            is_overdue=one.next_run_at is not None and now - one.next_run_at > OVERDUE,
            decision_id=decided.get(one.id),
        )
        for one in found
    ]


def _rows(user: AbstractUser, now: datetime) -> list[Row]:
    newest = ownership.visible_to(user, Execution.objects.defer("result", "parameters"))
    executions = list(newest.order_by("-id")[:EXECUTIONS_SHOWN])
    errors: dict[UUID, str] = dict(
        ErrorRecord.objects.filter(
            id__in=[one.last_error_id for one in executions if one.last_error_id]
        ).values_list("id", "message")
    )
    known = tiers.of(executions)
    return [_row(one, errors, known.get(one.id), now) for one in executions]


def _row(
    execution: Execution, errors: dict[UUID, str], tiered: Tiered | None, now: datetime
) -> Row:
    headline = ""
    if execution.status != ExecutionStatus.COMPLETED and execution.last_error_id:
        lines = errors.get(execution.last_error_id, "").splitlines()
        headline = lines[0][:200] if lines else ""
    is_running = execution.status == ExecutionStatus.RUNNING
    return Row(
        execution=execution,
        name=str(execution.snapshot.get("name") or "unnamed"),
        duration=_duration(execution, now),
        headline=headline,
        percent=wording.percent(execution) if is_running else None,
        tiered=tiered,
    )


def _duration(execution: Execution, now: datetime) -> str:
    if execution.started_at is None or execution.status not in {*TERMINAL, ExecutionStatus.RUNNING}:
        return ""
    ended = execution.completed_at or now
    return wording.duration(max(timedelta(), ended - execution.started_at))


def _failures(user: AbstractUser, now: datetime) -> list[Failure]:
    rows = query(
        f"""
        SELECT grouped.error_class, number, schedules, last_at, latest.message
        FROM (
            SELECT error_class, count(*) AS number, count(DISTINCT schedule_id) AS schedules,
                max(ended_at) AS last_at, (array_agg(id ORDER BY id DESC))[1] AS last_id
            FROM (
                SELECT id, error_class, schedule_id, ended_at FROM error_records
                WHERE id >= %(since)s AND {_only_own(user)}
                    AND (attempt > 0 OR execution_id IS NULL)
                ORDER BY id DESC LIMIT %(most)s
            ) AS recent GROUP BY error_class
        ) AS grouped JOIN error_records latest ON latest.id = grouped.last_id
        ORDER BY number DESC, last_at DESC
        """,  # noqa: S608  composed of constants
        {"owner": user.pk, "since": ids.floor(now - FAILURES_SINCE), "most": MOST_COUNTED + 1},
    )
    is_capped = sum(row[1] for row in rows) > MOST_COUNTED
    return [
        Failure(class_, number, is_capped, schedules, last_at, (message.splitlines() or [""])[0])
        for class_, number, schedules, last_at, message in rows
    ]
