"""What somebody wants done to many executions, dead letters, errors or schedules, and how far."""

from __future__ import annotations

from enum import StrEnum

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from executions_app.models import one_of
from executions_app.states import BulkStatus


class BulkVerb(StrEnum):
    """What is done to each of the chosen; a verb belongs to one list."""

    CANCEL = "cancel"
    RETRY = "retry"
    REQUEUE = "requeue"
    DISCARD = "discard"
    RESOLVE = "resolve"
    IGNORE = "ignore"
    PAUSE = "pause"
    RESUME = "resume"


class BulkOperation(models.Model):
    """One verb for the rows of a filter, as they were when it began; `cursor` is the last seen."""

    id = models.UUIDField(primary_key=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        db_index=False,
        help_text="who began it, and as whom it acts",
    )
    sees_all = models.BooleanField(default=False, help_text="begun by an administrator")
    verb = models.TextField()
    filter = models.JSONField(default=dict, help_text="the query of the list")
    words = models.JSONField(
        default=dict, encoder=DjangoJSONEncoder, help_text="what the verb is told beside the rows"
    )
    note = models.TextField(default="")
    status = models.TextField(default=BulkStatus.RUNNING)
    newest_id = models.UUIDField(help_text="rows born after this one are left alone")
    cursor = models.UUIDField(null=True, help_text="up to here everything was looked at")
    total = models.BigIntegerField(default=0, help_text="counted when it began")
    is_total_capped = models.BooleanField(default=False)
    done = models.BigIntegerField(default=0)
    refused = models.BigIntegerField(default=0)
    refusals = models.JSONField(default=list, help_text="the first of them, with their reasons")
    detail = models.TextField(default="", help_text="why it ended early")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "bulk_operations"
        constraints = [
            models.CheckConstraint(name="bulk_verb_known", condition=one_of("verb", BulkVerb)),
            models.CheckConstraint(
                name="bulk_status_known", condition=one_of("status", BulkStatus)
            ),
            models.CheckConstraint(
                name="bulk_ended_has_end",
                condition=Q(status="running", ended_at__isnull=True)
                | (~Q(status="running") & Q(ended_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="bulk_counts_not_negative",
                condition=Q(total__gte=0, done__gte=0, refused__gte=0),
            ),
            models.CheckConstraint(
                name="bulk_cursor_within_bound",
                condition=Q(cursor__isnull=True) | Q(cursor__lte=F("newest_id")),
            ),
        ]
        indexes = [
            models.Index(name="bulk_of_owner", fields=["owner", "id"]),
            models.Index(name="bulk_running", fields=["updated_at"], condition=Q(status="running")),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.status}"
