"""When not: the weekends, holidays and blackouts of a business, which schedules share."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now


def saturday_and_sunday() -> list[str]:
    return ["sat", "sun"]


class BusinessCalendar(models.Model):
    """Closed on whole local days (weekend, holidays) and inside blackouts, in its own zone."""

    id = models.UUIDField(primary_key=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False)
    name = models.TextField()
    timezone = models.TextField(default="UTC")
    weekend = ArrayField(models.TextField(), default=saturday_and_sunday, blank=True)
    holidays = models.JSONField(
        default=list, blank=True, help_text='[{"date": "2026-12-25", "name": "Christmas Day"}]'
    )
    blackouts = models.JSONField(
        default=list,
        blank=True,
        help_text='[{"from": "2026-12-24T18:00:00Z", "to": "2026-12-27T06:00:00Z", "reason": ""}]',
    )
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "business_calendars"
        constraints = [
            models.UniqueConstraint(name="calendar_name_of_owner", fields=["owner", "name"])
        ]

    def __str__(self) -> str:
        return self.name
