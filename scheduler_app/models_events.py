"""When, by what others say: the secrets of webhooks, and how far internal events were heard."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from executions_app.schema import NEW_ID


class WebhookSecret(models.Model):
    """A secret that signs the deliveries of one webhook: the newest, and older ones for a while."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    schedule = models.ForeignKey("scheduler_app.Schedule", on_delete=models.CASCADE)
    ciphertext = models.TextField(help_text="encrypted by a key of FIELD_ENCRYPTION_KEYS")
    expires_at = models.DateTimeField(null=True, help_text="null: it is the one in force")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "webhook_secrets"
        constraints = [
            models.UniqueConstraint(
                name="webhook_secret_in_force",
                fields=["schedule"],
                condition=Q(expires_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"made at {self.created_at:%Y-%m-%d %H:%M:%S}"


class EventListener(models.Model):
    """A schedule that internal events start: it hears transactions begun after `since_xid`."""

    schedule = models.OneToOneField(
        "scheduler_app.Schedule", primary_key=True, on_delete=models.CASCADE
    )
    since_xid = models.BigIntegerField()

    class Meta:
        db_table = "event_listeners"


class EventCursor(models.Model):
    """The one row that says up to which event all listeners have heard."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    xid = models.BigIntegerField(default=0)
    event_id = models.UUIDField()

    class Meta:
        db_table = "event_cursor"
        constraints = [
            models.CheckConstraint(name="event_cursor_single_row", condition=Q(id=1)),
        ]
