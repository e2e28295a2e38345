"""Plans that a person is asked about before any step of them runs, and what that person said."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.states import ApprovalStatus


class PlanApproval(models.Model):
    """One plan of a cycle that waits for a yes or no, or has had it."""

    id = models.UUIDField(primary_key=True)
    cycle_id = models.UUIDField()
    execution_id = models.UUIDField()
    schedule_id = models.UUIDField(null=True)
    owner_id = models.IntegerField()
    asked_for = models.TextField(help_text="what the schedule said: always or unsafe")
    plan_hash = models.TextField(help_text="of the steps as they would be carried out")
    risks = models.JSONField(default=list, help_text="the steps that may change something, and why")
    status = models.TextField(default=ApprovalStatus.WAITING)
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        db_index=False,
        related_name="+",
    )
    decided_at = models.DateTimeField(null=True)
    reason = models.TextField(default="", help_text="why it was not approved")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "plan_approvals"
        constraints = [
            models.CheckConstraint(
                name="approval_status_known", condition=one_of("status", ApprovalStatus)
            ),
            models.UniqueConstraint(
                name="approval_asked_once", fields=["execution_id"], condition=Q(status="waiting")
            ),
        ]
        indexes = [
            models.Index(
                name="approval_open", fields=["expires_at"], condition=Q(status="waiting")
            ),
            models.Index(name="approval_of_execution", fields=["execution_id", "id"]),
            models.Index(name="approval_of_schedule", fields=["schedule_id", "id"]),
            models.Index(name="approval_of_owner", fields=["owner_id", "id"]),
        ]

    def __str__(self) -> str:
        return f"plan {self.status}"
