"""When, as the AI would have it: one row for each decision of a cycle, and what became of it."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.schema import NEW_ID
from executions_app.states import DecisionStatus


class DecisionKind(StrEnum):
    """What is proposed; `keep`: nothing but the baseline."""

    NEXT_RUN_AT = "next_run_at"
    INTERVAL = "interval"
    PAUSE = "pause"
    KEEP = "keep"


class ScheduleDecision(models.Model):
    """What a cycle, or a fallback in its place, proposes for the next run of its schedule."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    schedule_id = models.UUIDField(help_text="no foreign key: the record outlives it")
    owner_id = models.IntegerField()
    execution_id = models.UUIDField(null=True)
    cycle_id = models.UUIDField(null=True)
    source = models.TextField(
        help_text="model, fallback:adaptive, fallback:interval, last_good, budget"
    )
    kind = models.TextField()
    autonomy = models.TextField(help_text="of the schedule when this was proposed")
    proposed = models.JSONField(default=dict)
    clamped = models.JSONField(default=dict, help_text="what the limits made of it")
    notes = models.JSONField(default=list, help_text="which limit changed what")
    seen_version = models.IntegerField()
    seen_next_run_at = models.DateTimeField(null=True)
    status = models.TextField(default=DecisionStatus.PROPOSED)
    reason = models.TextField(default="", help_text="the proposer's")
    refusal = models.TextField(default="", help_text="why it was refused or superseded")
    confidence = models.FloatField(null=True)
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        db_index=False,
        related_name="+",
    )
    decided_at = models.DateTimeField(null=True)
    before = models.JSONField(null=True, help_text="what stood there, for a way back")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "schedule_decisions"
        constraints = [
            models.CheckConstraint(
                name="decision_status_known", condition=one_of("status", DecisionStatus)
            ),
            models.CheckConstraint(
                name="decision_kind_known", condition=one_of("kind", DecisionKind)
            ),
            models.CheckConstraint(
                name="decision_confidence_in_range",
                condition=Q(confidence__isnull=True) | Q(confidence__gte=0, confidence__lte=1),
            ),
        ]
        indexes = [
            models.Index(name="decision_of_schedule", fields=["schedule_id", "id"]),
            models.Index(name="decision_of_owner", fields=["owner_id", "id"]),
            models.Index(
                name="decision_open", fields=["expires_at"], condition=Q(status="proposed")
            ),
            models.Index(
                name="decision_of_execution",
                fields=["execution_id"],
                condition=Q(execution_id__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.status}"
