"""What if nobody is looking: rules, what they found, and how people are told.

Only `alerting` writes these rows. Nothing here decides about an execution.
"""

from __future__ import annotations

from enum import StrEnum

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from errors_app.taxonomy import Severity
from executions_app.models import one_of
from executions_app.schema import NEW_ID
from executions_app.states import AlertStatus as AlertStatus
from executions_app.states import NoticeStatus as NoticeStatus


class AlertKind(StrEnum):
    """What a rule can look at: a closed list."""

    FAILURE_RATE = "failure_rate"
    STALLED_EXECUTION = "stalled_execution"
    LATE_SCHEDULE = "late_schedule"
    MISSED = "missed"
    SILENT_SCHEDULE = "silent_schedule"
    FINISH_BY = "finish_by"
    QUEUE_AGE = "queue_age"
    BREAKER_OPEN = "breaker_open"
    PROCESS_GONE = "process_gone"
    NO_SPACE = "no_space"
    DEAD_LETTERS = "dead_letters"
    INCIDENT_OPENED = "incident_opened"
    TOKEN_SPIKE = "token_spike"  # noqa: S105  the tokens of a model


class NoticeEvent(StrEnum):
    """What a notice tells."""

    FIRED = "fired"
    RESOLVED = "resolved"
    TEST = "test"


class AlertRule(models.Model):
    """What to look for; `parameters` as the kind says."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    name = models.TextField(unique=True)
    kind = models.TextField()
    parameters = models.JSONField(default=dict)
    schedule_id = models.UUIDField(null=True, help_text="only this schedule")
    owner_id = models.IntegerField(null=True, help_text="only what belongs to this user")
    severity = models.TextField(default=Severity.MEDIUM)
    channels = models.JSONField(default=list, help_text="names; empty: every channel")
    enabled = models.BooleanField(default=True)
    muted_until = models.DateTimeField(null=True)
    problem = models.TextField(default="", help_text="why it could not be looked at last time")
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "alert_rules"
        constraints = [
            models.CheckConstraint(
                name="alert_rule_kind_known", condition=one_of("kind", AlertKind)
            ),
            models.CheckConstraint(
                name="alert_rule_severity_known", condition=one_of("severity", Severity)
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """One thing that a rule found, from when it began until it was over."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    rule_id = models.UUIDField(help_text="no foreign key: the alert outlives it")
    rule_name = models.TextField()
    kind = models.TextField()
    key = models.TextField(help_text="what it is about")
    severity = models.TextField()
    status = models.TextField(default=AlertStatus.FIRING)
    message = models.TextField()
    details = models.JSONField(default=dict)
    schedule_id = models.UUIDField(null=True)
    owner_id = models.IntegerField(null=True)
    count = models.BigIntegerField(default=1, help_text="rounds that found it")
    quiet_rounds = models.IntegerField(default=0, help_text="rounds in a row that did not")
    first_seen_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    notified_at = models.DateTimeField(null=True, help_text="null: nobody was told, it was muted")
    muted_until = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "alerts"
        constraints = [
            models.CheckConstraint(
                name="alert_status_known", condition=one_of("status", AlertStatus)
            ),
            models.CheckConstraint(
                name="alert_resolved_has_end",
                condition=Q(status="resolved", resolved_at__isnull=False)
                | Q(status="firing", resolved_at__isnull=True),
            ),
            models.UniqueConstraint(
                name="alert_open_once", fields=["rule_id", "key"], condition=Q(status="firing")
            ),
        ]
        indexes = [
            models.Index(name="alert_of_key", fields=["rule_id", "key", "id"]),
            models.Index(name="alert_of_owner", fields=["owner_id", "id"]),
            models.Index(name="alert_firing", fields=["id"], condition=Q(status="firing")),
        ]

    def __str__(self) -> str:
        return f"{self.rule_name}: {self.message[:80]}"


class AlertChannel(models.Model):
    """Where notices go; what is secret about it is encrypted."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    name = models.TextField(unique=True)
    kind = models.TextField(help_text="log, or the scheme of its URL, such as mailtos")
    ciphertext = models.TextField(default="", help_text="the URL, by a key of the ring")
    enabled = models.BooleanField(default=True)
    min_severity = models.TextField(default=Severity.LOW)
    version = models.IntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "alert_channels"
        constraints = [
            models.CheckConstraint(
                name="alert_channel_severity_known", condition=one_of("min_severity", Severity)
            ),
            models.CheckConstraint(
                name="alert_channel_is_whole",
                condition=Q(kind="log", ciphertext="") | (~Q(kind="log") & ~Q(ciphertext="")),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AlertDelivery(models.Model):
    """One notice to one channel, and what became of it."""

    id = models.UUIDField(primary_key=True, db_default=NEW_ID)
    alert_id = models.UUIDField(null=True, help_text="null: a test")
    channel_id = models.UUIDField()
    channel_name = models.TextField()
    event = models.TextField()
    status = models.TextField(default=NoticeStatus.PENDING)
    attempts = models.IntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())
    claim = models.UUIDField(null=True, help_text="of who sends it now, until next_at")
    error = models.TextField(default="")
    sent_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "alert_deliveries"
        verbose_name_plural = "alert deliveries"
        constraints = [
            models.CheckConstraint(
                name="alert_delivery_status_known", condition=one_of("status", NoticeStatus)
            ),
            models.CheckConstraint(
                name="alert_delivery_event_known", condition=one_of("event", NoticeEvent)
            ),
            models.CheckConstraint(
                name="alert_delivery_sent_has_time",
                condition=Q(status="sent", sent_at__isnull=False)
                | (~Q(status="sent") & Q(sent_at__isnull=True)),
            ),
            models.UniqueConstraint(
                name="alert_delivery_once",
                fields=["alert_id", "channel_id", "event"],
                condition=Q(alert_id__isnull=False),
            ),
        ]
        indexes = [
            models.Index(
                name="alert_delivery_due",
                fields=["channel_id", "next_at"],
                condition=Q(status="pending"),
            ),
            models.Index(name="alert_delivery_of_channel", fields=["channel_id", "id"]),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.channel_name}: {self.status}"


class AlertRound(models.Model):
    """When the rules were looked at last, by whom: one row, moved by compare-and-set."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    looked_at = models.DateTimeField()
    looked_by = models.TextField(default="")

    class Meta:
        db_table = "alert_round"
        verbose_name_plural = "alert round"
        constraints = [models.CheckConstraint(name="alert_round_single_row", condition=Q(id=1))]
