"""What went wrong again and again: errors that are likes of each other, and how many in each hour.

`folding` writes both tables, people decide about incidents (`deciding`), and success closes them
(`recovering`). Error records know their incident by `incident_id`.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from errors_app.taxonomy import ErrorClass, Severity
from executions_app.models import one_of
from executions_app.schema import NEW_ID
from executions_app.states import IncidentStatus

UNRESOLVED: Final = ("open", "acknowledged")


class Incident(models.Model):
    """The errors of one schedule that share a fingerprint, and what a person thinks of them."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    key = models.TextField(help_text="owner, schedule and fingerprint in one")
    owner_id = models.IntegerField(null=True)
    schedule_id = models.UUIDField(null=True)
    name = models.TextField(default="", help_text="of the schedule, when it was last seen")
    fingerprint = models.TextField()
    error_class = models.TextField()
    exception_type = models.TextField()
    title = models.TextField(help_text="the first message, without its numbers and ids")
    severity = models.TextField(help_text="the highest seen")
    status = models.TextField(default=IncidentStatus.OPEN)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    count = models.BigIntegerField(default=0)
    last_error_id = models.UUIDField()
    last_execution_id = models.UUIDField(null=True)
    succeeded_at = models.DateTimeField(
        null=True, help_text="when an execution of the schedule completed after the last error"
    )
    recovers_at = models.DateTimeField(
        null=True, help_text="then it is resolved by itself, unless another error comes before"
    )
    resolved_at = models.DateTimeField(null=True)
    reopened_count = models.IntegerField(default=0)
    reopened_at = models.DateTimeField(null=True)
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
    )
    handled_at = models.DateTimeField(null=True)
    note = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "incidents"
        constraints = [
            models.UniqueConstraint(name="incident_once", fields=["key"]),
            models.CheckConstraint(
                name="incident_status_known", condition=one_of("status", IncidentStatus)
            ),
            models.CheckConstraint(
                name="incident_class_known", condition=one_of("error_class", ErrorClass)
            ),
            models.CheckConstraint(
                name="incident_severity_known", condition=one_of("severity", Severity)
            ),
            models.CheckConstraint(
                name="incident_resolved_has_its_time",
                condition=Q(resolved_at__isnull=False) | ~Q(status=IncidentStatus.RESOLVED),
            ),
        ]
        indexes = [
            models.Index(name="incident_by_time", fields=["last_seen_at", "id"]),
            models.Index(name="incident_of_owner", fields=["owner_id", "last_seen_at", "id"]),
            models.Index(name="incident_of_schedule", fields=["schedule_id", "last_seen_at", "id"]),
            models.Index(name="incident_open", fields=["id"], condition=Q(status="open")),
            models.Index(
                name="incident_open_of_schedule",
                fields=["schedule_id", "error_class"],
                condition=Q(status="open"),
            ),
            models.Index(
                name="incident_awaiting_success",
                fields=["schedule_id"],
                condition=Q(status__in=list(UNRESOLVED), recovers_at__isnull=True),
            ),
            models.Index(
                name="incident_recovering",
                fields=["recovers_at"],
                condition=Q(recovers_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}: {self.title[:80]}"


class IncidentBucket(models.Model):
    """How many errors of an incident ended in one hour (UTC)."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    incident_id = models.UUIDField()
    hour = models.DateTimeField(help_text="its first instant")
    count = models.BigIntegerField()

    class Meta:
        db_table = "incident_buckets"
        constraints = [
            models.UniqueConstraint(name="incident_bucket_once", fields=["incident_id", "hour"])
        ]

    def __str__(self) -> str:
        return f"{self.count} in the hour of {self.hour:%Y-%m-%d %H}"
