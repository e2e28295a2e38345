"""When, beside the clock: what has arrived from webhooks and upstream schedules, and backfills."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.schema import NEW_ID


class BackfillStatus(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    ABORTED = "aborted"


class DependencyMark(models.Model):
    """An upstream schedule that has ended, of a dependent one that waits for all of its own."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    schedule_id = models.UUIDField(help_text="the dependent schedule")
    upstream_id = models.UUIDField()
    execution_id = models.UUIDField(help_text="of the upstream schedule")
    marked_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "dependency_marks"
        constraints = [
            models.UniqueConstraint(
                name="dependency_marked_once", fields=["schedule_id", "upstream_id"]
            )
        ]


class WebhookDelivery(models.Model):
    """A delivery that has been taken, and the execution that it started."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    schedule_id = models.UUIDField()
    delivery_id = models.TextField()
    execution_id = models.UUIDField(null=True, help_text="null: it started nothing")
    reason = models.TextField(default="", db_default="", help_text="why it started nothing")
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "webhook_deliveries"
        verbose_name_plural = "webhook deliveries"
        constraints = [
            models.UniqueConstraint(
                name="webhook_delivered_once", fields=["schedule_id", "delivery_id"]
            )
        ]
        indexes = [models.Index(name="webhook_delivery_received", fields=["received_at"])]


class Backfill(models.Model):
    """A range of past fires that somebody wants run, and how far that has come."""

    id = models.UUIDField(primary_key=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False)
    schedule_id = models.UUIDField(help_text="no foreign key: the record outlives it")
    range_from = models.DateTimeField(help_text="nominal instants, inclusive")
    range_until = models.DateTimeField(help_text="nominal instants, inclusive")
    status = models.TextField(default=BackfillStatus.RUNNING)
    cursor = models.DateTimeField(null=True, help_text="the last nominal instant looked at")
    total = models.BigIntegerField(default=0)
    made = models.BigIntegerField(default=0)
    max_concurrent = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "backfills"
        constraints = [
            models.CheckConstraint(
                name="backfill_status_known", condition=one_of("status", BackfillStatus)
            ),
            models.CheckConstraint(
                name="backfill_range_ordered", condition=Q(range_until__gte=F("range_from"))
            ),
            models.CheckConstraint(
                name="backfill_max_concurrent_positive", condition=Q(max_concurrent__gte=1)
            ),
        ]
        indexes = [
            models.Index(name="backfill_of_owner", fields=["owner", "id"]),
            models.Index(name="backfill_of_schedule", fields=["schedule_id", "id"]),
            models.Index(name="backfill_running", fields=["id"], condition=Q(status="running")),
        ]

    def __str__(self) -> str:
        return f"{self.range_from:%Y-%m-%d %H:%M} to {self.range_until:%Y-%m-%d %H:%M}"
