"""When: schedules and the record of each of their fires.

Only `schedules` and `dispatcher` write Schedule; only `dispatcher` inserts fire records.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.states import Priority
from scheduler_app.policies import CatchupPolicy, FireReason, OverlapPolicy, TriggerType


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
    anchor_at = models.DateTimeField(help_text="the grid of an interval: anchor + k x interval")
    next_run_at = models.DateTimeField(null=True, blank=True)
    last_run_at = models.DateTimeField(null=True, blank=True)
    last_success_at = models.DateTimeField(null=True, blank=True)
    last_status = models.TextField(default="", blank=True)
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

    def __str__(self) -> str:
        return f"{self.nominal_at:%Y-%m-%d %H:%M:%S} {self.reason}"
