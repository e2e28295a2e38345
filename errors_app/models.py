"""What went wrong: one error record per failed attempt, one dead letter per given-up execution.

Only `recovery` and `recording` write these rows, people decide about them, and `folding` puts
errors that are likes of each other into one incident. Error records are partitioned by month on
their id and refer to executions without a foreign key, so that partitions of either can be dropped.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from errors_app.models_alerts import Alert as Alert
from errors_app.models_alerts import AlertChannel as AlertChannel
from errors_app.models_alerts import AlertDelivery as AlertDelivery
from errors_app.models_alerts import AlertKind as AlertKind
from errors_app.models_alerts import AlertRound as AlertRound
from errors_app.models_alerts import AlertRule as AlertRule
from errors_app.models_alerts import AlertStatus as AlertStatus
from errors_app.models_breakers import Breaker as Breaker
from errors_app.models_breakers import BreakerTransition as BreakerTransition
from errors_app.models_incidents import Incident as Incident
from errors_app.models_incidents import IncidentBucket as IncidentBucket
from errors_app.taxonomy import ErrorClass, Severity
from executions_app.models import one_of
from executions_app.states import RecoveryStatus

SURVIVED: Final = Q(attempt=0, execution_id__isnull=False)
"""What an execution got over by itself: it went on, a worse way."""


class ErrorRecord(models.Model):
    """One failed attempt, or one failure of the system itself, and what was done about it.

    Or what an attempt got over by itself (SURVIVED): it is no failure, and nothing follows.
    """

    id = models.UUIDField(primary_key=True)
    execution_id = models.UUIDField(null=True)
    schedule_id = models.UUIDField(null=True)
    owner_id = models.IntegerField(null=True)
    attempt = models.IntegerField(default=0)
    worker_id = models.TextField(default="")
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField()
    error_class = models.TextField()
    exception_type = models.TextField()
    message = models.TextField()
    stack = models.TextField(default="")
    context = models.JSONField(default=dict)
    severity = models.TextField(default=Severity.MEDIUM)
    fingerprint = models.TextField()
    incident_id = models.UUIDField(null=True, help_text="null: not folded into one yet")
    recovery_status = models.TextField(default=RecoveryStatus.PENDING)
    retry_at = models.DateTimeField(null=True)
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    handled_at = models.DateTimeField(null=True)
    note = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "error_records"
        constraints = [
            models.CheckConstraint(
                name="error_class_known", condition=one_of("error_class", ErrorClass)
            ),
            models.CheckConstraint(
                name="error_severity_known", condition=one_of("severity", Severity)
            ),
            models.CheckConstraint(
                name="error_recovery_status_known",
                condition=one_of("recovery_status", RecoveryStatus),
            ),
        ]
        indexes = [
            models.Index(
                name="error_of_execution",
                fields=["execution_id", "id"],
                condition=Q(execution_id__isnull=False),
            ),
            models.Index(name="error_of_schedule", fields=["schedule_id", "id"]),
            models.Index(name="error_of_owner", fields=["owner_id", "id"]),
            models.Index(
                name="error_unfolded", fields=["id"], condition=Q(incident_id__isnull=True)
            ),
            models.Index(
                name="error_of_incident",
                fields=["incident_id", "id"],
                condition=Q(incident_id__isnull=False),
            ),
            models.Index(
                name="error_open",
                fields=["id"],
                condition=Q(recovery_status__in=["pending", "retry_scheduled", "retrying"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.error_class}: {self.message[:80]}"


class DeadLetter(models.Model):
    """An execution that was given up, with what a person needs to run it again or let it go."""

    id = models.UUIDField(primary_key=True)
    execution_id = models.UUIDField()
    schedule_id = models.UUIDField(null=True)
    owner_id = models.IntegerField()
    payload = models.JSONField(help_text="the execution's snapshot and parameters")
    attempts = models.IntegerField()
    last_error_id = models.UUIDField(null=True)
    error_class = models.TextField()
    message = models.TextField()
    handling = models.TextField(default="", help_text="requeued or discarded; empty: open")
    handled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    handled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "dead_letters"
        constraints = [
            models.CheckConstraint(
                name="dead_letter_handling_known",
                condition=Q(handling__in=["", "requeued", "discarded"]),
            ),
            models.UniqueConstraint(
                name="dead_letter_open_once",
                fields=["execution_id"],
                condition=Q(handling=""),
            ),
        ]
        indexes = [
            models.Index(name="dead_letter_of_schedule", fields=["schedule_id", "id"]),
            models.Index(name="dead_letter_of_execution", fields=["execution_id", "id"]),
            models.Index(name="dead_letter_of_owner", fields=["owner_id", "id"]),
            models.Index(name="dead_letter_open", fields=["id"], condition=Q(handling="")),
            models.Index(
                name="dead_letter_open_of_schedule",
                fields=["schedule_id", "id"],
                condition=Q(handling=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.execution_id} given up after {self.attempts} attempts"
