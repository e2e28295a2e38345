"""What happened, besides executions: which processes there are and were, as they say themselves."""

from __future__ import annotations

from enum import StrEnum

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ProcessKind(StrEnum):
    BEAT = "beat"
    WORKER = "worker"
    WEB = "web"


class Process(models.Model):
    """One beat, worker or web process; it renews `seen_at` as long as it lives."""

    id = models.UUIDField(primary_key=True)
    kind = models.TextField()
    name = models.TextField(help_text="role@host, such as io@worker-1")
    host = models.TextField()
    pid = models.IntegerField()
    queues = ArrayField(models.TextField(), default=list, help_text="from which a worker takes")
    version = models.TextField(default="")
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    stopping_at = models.DateTimeField(null=True, help_text="it was asked to stop")
    stopped_at = models.DateTimeField(null=True, help_text="null long after seen_at: it is gone")
    refused_claims = models.BigIntegerField(
        default=0,
        db_default=0,
        help_text="messages named an execution that was not to be had any more, since it began",
    )
    refused_writes = models.BigIntegerField(
        default=0,
        db_default=0,
        help_text="a run heard, or a write found, that its lease was gone, since it began",
    )

    class Meta:
        db_table = "processes"
        verbose_name_plural = "processes"
        constraints = [
            models.CheckConstraint(
                name="process_kind_known",
                condition=Q(kind__in=[one.value for one in ProcessKind]),
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} ({self.pid})"
