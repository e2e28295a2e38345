"""When, at most: limits on what runs at once or per time, their counters, and unique work.

People write limits; `rates` and `unique` write the other two tables.
"""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from executions_app.schema import NEW_ID


class UniqueMode(StrEnum):
    """How long work of one key keeps out more of it, and which of the two gives way."""

    WHILE_ACTIVE = "while_active"
    FOR_TIME = "for_time"
    DEBOUNCE = "debounce"
    REPLACE = "replace"


class Limit(models.Model):
    """At most so many executions at once, or so many starts in a period, for one key."""

    id = models.UUIDField(primary_key=True)
    key = models.TextField(unique=True, help_text="system, queue:low, task:..., key:tenant:*")
    max_concurrent = models.IntegerField(null=True, blank=True)
    rate_count = models.IntegerField(null=True, blank=True)
    rate_period_ms = models.BigIntegerField(null=True, blank=True)
    note = models.TextField(default="", blank=True)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "limits"
        constraints = [
            models.CheckConstraint(
                name="limit_says_something",
                condition=Q(max_concurrent__isnull=False) | Q(rate_count__isnull=False),
            ),
            models.CheckConstraint(
                name="limit_rate_is_whole",
                condition=Q(rate_count__isnull=True, rate_period_ms__isnull=True)
                | Q(
                    rate_count__isnull=False,
                    rate_period_ms__isnull=False,
                    rate_count__gte=1,
                    rate_period_ms__gte=1,
                ),
            ),
            models.CheckConstraint(
                name="limit_max_concurrent_not_negative",
                condition=Q(max_concurrent__isnull=True) | Q(max_concurrent__gte=0),
            ),
        ]

    def __str__(self) -> str:
        return self.key


class RateBucket(models.Model):
    """The tokens left to one key under its rate limit."""

    key = models.TextField(primary_key=True)
    tokens = models.FloatField()
    refreshed_at = models.DateTimeField()

    class Meta:
        db_table = "rate_buckets"

    def __str__(self) -> str:
        return self.key


class UniqueWork(models.Model):
    """The execution that holds a key of unique work, `until` an instant or while it is active."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    owner_id = models.IntegerField()
    key = models.TextField()
    execution_id = models.UUIDField()
    until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "unique_works"
        constraints = [
            models.UniqueConstraint(name="unique_work_of_owner", fields=["owner_id", "key"])
        ]
        indexes = [
            models.Index(name="unique_work_of_execution", fields=["execution_id"]),
            models.Index(
                name="unique_work_ending", fields=["until"], condition=Q(until__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return self.key
