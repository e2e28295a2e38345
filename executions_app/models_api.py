"""What happened at the door: tokens of machines, requests done only once, and live sessions."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ApiToken(models.Model):
    """A personal token for machines; only its hash is stored, the token is shown once."""

    id = models.UUIDField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    name = models.TextField()
    prefix = models.TextField(help_text="its first characters, to recognise it by")
    token_hash = models.TextField(unique=True)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "api_tokens"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}...)"


class IdempotencyKey(models.Model):
    """A POST that its sender marked to be done once, with the answer that repeats are given."""

    id = models.UUIDField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False)
    key = models.TextField()
    request = models.TextField(help_text="its method and path")
    body_hash = models.TextField()
    response_status = models.SmallIntegerField(null=True, help_text="null: still in progress")
    response_headers = models.JSONField(default=dict)
    response_body = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency_keys"
        constraints = [
            models.UniqueConstraint(name="idempotency_key_of_user", fields=["user", "key"])
        ]

    def __str__(self) -> str:
        return f"{self.request} {self.key}"


class WebSocketSession(models.Model):
    """One connection to `/ws`, from its acceptance to its close."""

    id = models.UUIDField(primary_key=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    channel = models.TextField()
    client = models.TextField(default="")
    subscriptions = models.JSONField(default=dict)
    connected_at = models.DateTimeField()
    last_ping_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    close_code = models.IntegerField(null=True)

    class Meta:
        db_table = "websocket_sessions"
        indexes = [
            models.Index(
                name="websocket_open_last_ping",
                fields=["last_ping_at"],
                condition=Q(closed_at__isnull=True),
            )
        ]
