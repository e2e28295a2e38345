"""When: schedules and the record of each of their fires.

People change a Schedule through `schedules` and `edits`; fires, starts and outcomes move it in
`firing`, `sources.starting` and `consequences`, ends of pauses in `pauses`, and `dispatcher` takes
one that cannot be dispatched out of service. A fire record comes from whoever started or refused
the fire: `firing` and `careful` by time, `sources` for events and upstreams, `backfill_rows`, and
`pauses` for what nobody looked at.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.states import Priority
from scheduler_app.models_bulk import BulkOperation as BulkOperation
from scheduler_app.models_calendars import BusinessCalendar as BusinessCalendar
from scheduler_app.models_decisions import DecisionKind as DecisionKind
from scheduler_app.models_decisions import ScheduleDecision as ScheduleDecision
from scheduler_app.models_events import EventCursor as EventCursor
from scheduler_app.models_events import EventListener as EventListener
from scheduler_app.models_events import WebhookSecret as WebhookSecret
from scheduler_app.models_limits import Limit as Limit
from scheduler_app.models_limits import RateBucket as RateBucket
from scheduler_app.models_limits import UniqueMode as UniqueMode
from scheduler_app.models_limits import UniqueWork as UniqueWork
from scheduler_app.models_sources import Backfill as Backfill
from scheduler_app.models_sources import DependencyMark as DependencyMark
from scheduler_app.models_sources import WebhookDelivery as WebhookDelivery
from scheduler_app.policies import (
    CatchupPolicy,
    FireReason,
    OutsideWindow,
    OverlapPolicy,
    TriggerType,
)

PLAIN = Q(
    overlap_policy__in=["skip", "allow"],
    end_at__isnull=True,
    max_runs__isnull=True,
    execution_window={},
    calendar__isnull=True,
    jitter_ms=0,
    spread_ms=0,
    run_ttl_ms__isnull=True,
    max_concurrent__isnull=True,
    limit_key="",
    unique_key="",
)
"""A schedule whose fires need nothing looked at but its rule, its overlap and its catch-up."""


class Schedule(models.Model):
    """The stored definition of a job: what, when, how."""

    id = models.UUIDField(primary_key=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False)
    name = models.TextField()
    trigger_type = models.TextField(default=TriggerType.TIME_BASED)
    schedule_type = models.TextField(default="", help_text="cron, interval or one_time")
    schedule_config = models.JSONField(default=dict)
    timezone = models.TextField(default="UTC")
    task_type = models.TextField()
    task_config = models.JSONField(default=dict)
    priority = models.TextField(default=Priority.NORMAL)
    enabled = models.BooleanField(default=True)
    paused_until = models.DateTimeField(null=True, blank=True)
    pause_reason = models.TextField(default="", blank=True)
    timeout_ms = models.BigIntegerField(default=300_000)
    overlap_policy = models.TextField(default=OverlapPolicy.SKIP)
    catchup_policy = models.TextField(default=CatchupPolicy.LATEST)
    catchup_limit = models.IntegerField(default=1)
    catchup_window_ms = models.BigIntegerField(null=True, blank=True)
    retry_policy = models.JSONField(default=dict)
    trigger_config = models.JSONField(
        default=dict, db_default={}, blank=True, help_text="of what starts it"
    )
    start_at = models.DateTimeField(null=True, blank=True, help_text="no nominal fire before")
    end_at = models.DateTimeField(null=True, blank=True, help_text="no nominal fire after")
    max_runs = models.BigIntegerField(null=True, blank=True)
    execution_window = models.JSONField(default=dict, db_default={}, blank=True)
    calendar = models.ForeignKey(
        BusinessCalendar, on_delete=models.PROTECT, null=True, blank=True, db_index=False
    )
    outside_window = models.TextField(
        default=OutsideWindow.SKIP, db_default=OutsideWindow.SKIP.value
    )
    jitter_ms = models.IntegerField(default=0, db_default=0)
    spread_ms = models.IntegerField(default=0, db_default=0)
    buffer_limit = models.IntegerField(
        default=100, db_default=100, help_text="how many buffer_all lets wait"
    )
    run_ttl_ms = models.BigIntegerField(null=True, blank=True)
    pause_after_failures = models.IntegerField(null=True, blank=True)
    max_concurrent = models.IntegerField(null=True, blank=True)
    limit_key = models.TextField(
        default="", db_default="", blank=True, help_text="such as tenant:{tenant}"
    )
    unique_key = models.TextField(
        default="", db_default="", blank=True, help_text="such as order:{order_id}"
    )
    unique_mode = models.TextField(
        default=UniqueMode.WHILE_ACTIVE, db_default=UniqueMode.WHILE_ACTIVE.value
    )
    unique_for_ms = models.BigIntegerField(null=True, blank=True)
    is_plain = models.GeneratedField(
        expression=Case(When(PLAIN, then=Value(True)), default=Value(False)),
        output_field=models.BooleanField(),
        db_persist=True,
    )
    anchor_at = models.DateTimeField(help_text="the grid of an interval: anchor + k x interval")
    next_run_at = models.DateTimeField(null=True, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_status = models.TextField(default="", blank=True)
    paused_at = models.DateTimeField(null=True, blank=True, help_text="fires pass since then")
    fired_count = models.BigIntegerField(
        default=0, db_default=0, help_text="executions of its own trigger"
    )
    run_count = models.BigIntegerField(default=0)
    success_count = models.BigIntegerField(default=0)
    failure_count = models.BigIntegerField(default=0)
    consecutive_failures = models.IntegerField(default=0)
    total_duration_ms = models.BigIntegerField(default=0, help_text="of its ended executions")
    missed_count = models.BigIntegerField(default=0)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "task_schedules"
        constraints = [
            models.UniqueConstraint(name="schedule_name_of_owner", fields=["owner", "name"]),
            models.CheckConstraint(
                name="schedule_trigger_type_known", condition=one_of("trigger_type", TriggerType)
            ),
            models.CheckConstraint(
                name="schedule_priority_known", condition=one_of("priority", Priority)
            ),
            models.CheckConstraint(
                name="schedule_overlap_policy_known",
                condition=one_of("overlap_policy", OverlapPolicy),
            ),
            models.CheckConstraint(
                name="schedule_catchup_policy_known",
                condition=one_of("catchup_policy", CatchupPolicy),
            ),
            models.CheckConstraint(name="schedule_timeout_positive", condition=Q(timeout_ms__gt=0)),
            models.CheckConstraint(
                name="schedule_outside_window_known",
                condition=one_of("outside_window", OutsideWindow),
            ),
            models.CheckConstraint(
                name="schedule_unique_mode_known", condition=one_of("unique_mode", UniqueMode)
            ),
            models.CheckConstraint(
                name="schedule_offsets_not_negative",
                condition=Q(jitter_ms__gte=0, spread_ms__gte=0),
            ),
            models.CheckConstraint(
                name="schedule_ends_after_start",
                condition=Q(start_at__isnull=True)
                | Q(end_at__isnull=True)
                | Q(end_at__gt=F("start_at")),
            ),
            models.CheckConstraint(
                name="schedule_bounds_positive",
                condition=Q(buffer_limit__gte=1)
                & (Q(max_runs__isnull=True) | Q(max_runs__gte=1))
                & (Q(run_ttl_ms__isnull=True) | Q(run_ttl_ms__gte=1))
                & (Q(pause_after_failures__isnull=True) | Q(pause_after_failures__gte=1))
                & (Q(max_concurrent__isnull=True) | Q(max_concurrent__gte=1))
                & (Q(unique_for_ms__isnull=True) | Q(unique_for_ms__gte=1)),
            ),
        ]
        indexes = [
            models.Index(
                name="schedule_due",
                fields=["priority", "next_run_at"],
                condition=Q(enabled=True, next_run_at__isnull=False),
            ),
            models.Index(name="schedule_of_owner", fields=["owner", "id"]),
            models.Index(
                name="schedule_unplanned",
                fields=["id"],
                condition=Q(enabled=True, next_run_at__isnull=True, trigger_type="time_based"),
            ),
            models.Index(
                name="schedule_next_of_owner",
                fields=["owner", "next_run_at"],
                condition=Q(enabled=True, next_run_at__isnull=False),
            ),
            models.Index(
                name="schedule_of_trigger",
                fields=["trigger_type", "id"],
                condition=Q(trigger_type__in=["event_driven", "dependent"]),
            ),
            GinIndex(
                name="schedule_upstreams",
                fields=["trigger_config"],
                opclasses=["jsonb_path_ops"],
                condition=Q(trigger_type="dependent"),
            ),
            models.Index(
                name="schedule_of_calendar",
                fields=["calendar"],
                condition=Q(calendar__isnull=False),
            ),
            models.Index(
                name="schedule_pause_ending",
                fields=["paused_until"],
                condition=Q(paused_at__isnull=False, paused_until__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class FireRecord(models.Model):
    """What became of one nominal fire (or, with `count`, of a run of missed ones)."""

    id = models.UUIDField(primary_key=True)
    schedule_id = models.UUIDField()
    nominal_at = models.DateTimeField()
    cause = models.TextField(default="", help_text="empty for time fires")
    nominal_until = models.DateTimeField(null=True)
    count = models.BigIntegerField(default=1)
    reason = models.TextField()
    execution_id = models.UUIDField(null=True)
    lateness_ms = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "fire_records"
        constraints = [
            models.UniqueConstraint(
                name="fire_once", fields=["schedule_id", "nominal_at", "cause"]
            ),
            models.CheckConstraint(
                name="fire_reason_known", condition=one_of("reason", FireReason)
            ),
        ]
        indexes = [
            models.Index(
                name="fire_missed",
                fields=["id"],
                condition=Q(reason__in=["missed_coalesced", "missed_too_old"]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.nominal_at:%Y-%m-%d %H:%M:%S} {self.reason}"
