"""What happened: the rows in which every execution, step and event is recorded.

Rows hold facts and their constraints; only `lifecycle` (through `ledger`) moves executions and
steps, only `events` and `audit` append to their tables. The large tables are partitioned by month
on their id, so references to them carry no database constraint.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now

from executions_app.models_api import ApiToken as ApiToken
from executions_app.models_api import IdempotencyKey as IdempotencyKey
from executions_app.models_api import WebSocketSession as WebSocketSession
from executions_app.models_presence import Process as Process
from executions_app.models_presence import ProcessKind as ProcessKind
from executions_app.states import ExecutionStatus, Priority, StepStatus, SystemStatus, Trigger


def one_of(field: str, values: type[object]) -> Q:
    """The condition that `field` holds a member of a StrEnum."""
    return Q(**{f"{field}__in": [str(one) for one in values]})  # type: ignore[attr-defined]


class Execution(models.Model):
    """One planned run of a schedule, with every try it took and its one outcome."""

    id = models.UUIDField(primary_key=True)
    number = models.BigIntegerField(
        db_default=Func(
            Value("task_executions_number_seq"),
            function="nextval",
            output_field=models.BigIntegerField(),
        ),
        help_text="the short id for people",
    )
    schedule_id = models.UUIDField(null=True, help_text="no foreign key: the run outlives it")
    snapshot = models.JSONField(help_text="what the run needs of its schedule, as it was then")
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False
    )
    trigger = models.TextField(default=Trigger.TIME)
    parameters = models.JSONField(default=dict)
    nominal_at = models.DateTimeField(null=True, help_text="the planned instant of its fire")
    due_at = models.DateTimeField(help_text="when it may be dispatched")
    status = models.TextField(default=ExecutionStatus.PENDING)
    outcome = models.TextField(default="")
    priority = models.TextField(default=Priority.NORMAL)
    queue = models.TextField(default=Priority.NORMAL)
    attempt = models.IntegerField(default=0, help_text="tries that were made")
    max_attempts = models.IntegerField(default=1)
    lease_token = models.UUIDField(null=True, help_text="the fence: new for every claim")
    lease_expires_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    lease_extensions = models.IntegerField(default=0)
    worker_id = models.TextField(default="")
    cancel_requested_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True, help_text="null: its message is still to send")
    publish_count = models.IntegerField(default=0)
    slice_size = models.IntegerField(default=0, help_text="rows claimed with it")
    travels_alone = models.BooleanField(default=False)
    queued_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    progress = models.JSONField(default=dict)
    result = models.JSONField(null=True)
    result_truncated = models.BooleanField(default=False)
    usage = models.JSONField(null=True, help_text="what the last attempt took; null: unknown")
    held_by = models.TextField(default="")
    limit_key = models.TextField(default="", db_default="", help_text="what `key:` limits count")
    unique_key = models.TextField(default="", db_default="")
    expires_at = models.DateTimeField(null=True, help_text="cancelled if not started by then")
    last_error_id = models.UUIDField(null=True)
    dead_letter_at = models.DateTimeField(null=True)
    discarded_at = models.DateTimeField(null=True)
    correlation_id = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "task_executions"
        constraints = [
            models.CheckConstraint(
                name="execution_status_known", condition=one_of("status", ExecutionStatus)
            ),
            models.CheckConstraint(
                name="execution_priority_known", condition=one_of("priority", Priority)
            ),
            models.CheckConstraint(
                name="execution_running_holds_lease",
                condition=Q(status="running", lease_token__isnull=False)
                | (~Q(status="running") & Q(lease_token__isnull=True)),
            ),
            models.CheckConstraint(
                name="execution_terminal_has_end",
                condition=Q(
                    status__in=["completed", "failed", "cancelled"], completed_at__isnull=False
                )
                | Q(
                    status__in=["pending", "queued", "running", "waiting"],
                    completed_at__isnull=True,
                ),
            ),
            models.CheckConstraint(
                name="execution_attempt_within_budget",
                condition=Q(attempt__gte=0, attempt__lte=F("max_attempts")),
            ),
        ]
        indexes = [
            models.Index(
                name="execution_pending_due",
                fields=["due_at"],
                condition=Q(status="pending", held_by=""),
            ),
            models.Index(
                name="execution_held",
                fields=["held_by", "priority", "limit_key", "due_at"],
                opclasses=[*["text_pattern_ops"] * 3, "timestamptz_ops"],  # read by prefix
                condition=Q(status="pending") & ~Q(held_by=""),
            ),
            models.Index(
                name="execution_limited",
                fields=["limit_key"],
                condition=Q(status__in=["queued", "running"]) & ~Q(limit_key=""),
            ),
            models.Index(
                name="execution_unique",
                fields=["unique_key"],
                condition=Q(status__in=["pending", "queued", "running", "waiting"])
                & ~Q(unique_key=""),
            ),
            models.Index(
                name="execution_expiring",
                fields=["expires_at"],
                condition=Q(status__in=["pending", "queued"], expires_at__isnull=False, attempt=0),
            ),
            models.Index(
                name="execution_queued_sent",
                fields=["published_at", "queue"],
                condition=Q(status="queued"),
            ),
            models.Index(name="execution_running", fields=["id"], condition=Q(status="running")),
            models.Index(
                name="execution_to_stop",
                fields=["id"],
                condition=Q(status="running", cancel_requested_at__isnull=False),
            ),
            models.Index(
                name="execution_active_of_schedule",
                fields=["schedule_id", "status"],
                condition=Q(status__in=["pending", "queued", "running", "waiting"]),
            ),
            models.Index(name="execution_failed", fields=["id"], condition=Q(status="failed")),
            models.Index(name="execution_of_schedule", fields=["schedule_id", "id"]),
            models.Index(name="execution_of_owner", fields=["owner", "id"]),
            models.Index(name="execution_number", fields=["number"]),
        ]

    def __str__(self) -> str:
        return f"#{self.number} {self.snapshot.get('name', '')} {self.status}"


class Step(models.Model):
    """One endpoint or tool call inside an execution."""

    id = models.UUIDField(primary_key=True)
    execution_id = models.UUIDField()
    position = models.IntegerField()
    wave = models.IntegerField(default=0, db_default=0, help_text="steps of one wave run together")
    name = models.TextField()
    config = models.JSONField(default=dict)
    depends_on = ArrayField(models.UUIDField(), default=list)
    is_critical = models.BooleanField(default=False)
    status = models.TextField(default=StepStatus.PLANNED)
    reason = models.TextField(default="")
    error_class = models.TextField(default="", db_default="")
    attempt = models.IntegerField(default=0)
    lease_token = models.UUIDField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    worker_id = models.TextField(default="")
    result = models.JSONField(null=True)
    usage = models.JSONField(null=True, help_text="what its last try took; null: unknown")
    queued_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "execution_steps"
        constraints = [
            models.CheckConstraint(name="step_status_known", condition=one_of("status", StepStatus))
        ]
        indexes = [models.Index(name="step_of_execution", fields=["execution_id", "position"])]

    def __str__(self) -> str:
        return f"{self.name} {self.status}"


class OutcomeInbox(models.Model):
    """A terminal outcome that the dispatcher has not drawn its consequences from yet."""

    id = models.UUIDField(primary_key=True)
    execution_id = models.UUIDField()
    schedule_id = models.UUIDField(null=True)
    status = models.TextField()
    outcome = models.TextField()
    duration_ms = models.BigIntegerField(null=True)
    completed_at = models.DateTimeField()

    class Meta:
        db_table = "outcome_inbox"


class Event(models.Model):
    """One thing that happened, in the order of (xid, id), for the live feed and its replay."""

    id = models.UUIDField(primary_key=True)
    xid = models.BigIntegerField(
        db_default=Func(
            Func(function="pg_current_xact_id", template="%(function)s()::text::bigint"),
            template="%(expressions)s",
            output_field=models.BigIntegerField(),
        )
    )
    type = models.TextField()
    topic = models.TextField()
    owner_id = models.IntegerField(null=True)
    schedule_id = models.UUIDField(null=True)
    execution_id = models.UUIDField(null=True)
    severity = models.TextField(default="")
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "events"
        indexes = [
            models.Index(name="event_replay", fields=["xid", "id"]),
            models.Index(
                name="event_of_execution",
                fields=["execution_id", "id"],
                condition=Q(execution_id__isnull=False),
            ),
        ]


class AuditEntry(models.Model):
    """Who did what to which object; a database trigger refuses to change or delete a row."""

    id = models.UUIDField(primary_key=True)
    actor_id = models.IntegerField(null=True)
    actor = models.TextField()
    action = models.TextField()
    object_type = models.TextField()
    object_id = models.TextField()
    before = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    after = models.JSONField(null=True, encoder=DjangoJSONEncoder)
    note = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "audit_log"
        verbose_name_plural = "audit log"
        indexes = [models.Index(name="audit_of_object", fields=["object_type", "object_id", "id"])]


class SystemState(models.Model):
    """The one row that says whether the system dispatches, recovers, and knows its Redis."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    status = models.TextField(default=SystemStatus.IDLE)
    scheduler_running = models.BooleanField(default=True)
    error_recovery_running = models.BooleanField(default=True)
    scheduler_last_tick_at = models.DateTimeField(null=True)
    error_recovery_last_run_at = models.DateTimeField(null=True)
    problem = models.TextField(default="")
    problem_seen_at = models.DateTimeField(null=True)
    redis_epoch = models.BigIntegerField(default=0)
    redis_run_id = models.TextField(default="")
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "system_state"
        verbose_name_plural = "system state"
        constraints = [
            models.CheckConstraint(name="system_state_single_row", condition=Q(id=1)),
            models.CheckConstraint(
                name="system_status_known", condition=one_of("status", SystemStatus)
            ),
        ]
