"""The shapes of alerts, rules, channels and notices about executions, over HTTP."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from errors_app.models_alerts import (
    Alert,
    AlertChannel,
    AlertDelivery,
    AlertKind,
    AlertRule,
    AlertStatus,
    NoticeEvent,
    NoticeStatus,
)
from errors_app.taxonomy import Severity
from executions_app.api.serializers import ObjectField, StrictSerializer, words

ALERT_KINDS: Final = words(AlertKind)
SEVERITIES: Final = words(Severity)
ALERT_STATUSES: Final = words(AlertStatus)
RULE_EXAMPLE: Final = {
    "name": "Nightly report is late",
    "kind": "late_schedule",
    "parameters": {"start_by_ms": 60_000},
    "schedule_id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b",
    "owner_id": None,
    "severity": "high",
    "channels": ["on call"],
    "enabled": True,
}
CHANNEL_EXAMPLE: Final = {
    "name": "on call",
    "url": "mailtos://user:password@mail.example.org?to=oncall@example.org",
    "enabled": True,
    "min_severity": "high",
}


@extend_schema_serializer(
    examples=[OpenApiExample("one schedule", value=RULE_EXAMPLE, request_only=True)]
)
class AlertRuleSerializer(serializers.ModelSerializer[AlertRule]):
    """What is looked for; `parameters` depend on the kind and are shown completed."""

    kind = serializers.ChoiceField(ALERT_KINDS)
    severity = serializers.ChoiceField(SEVERITIES, required=False)
    parameters = ObjectField(required=False)
    channels = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="names; empty: every channel"
    )

    class Meta:
        model = AlertRule
        fields = [
            "id",
            *RULE_EXAMPLE,
            "muted_until",
            "problem",
            "version",
            "created_at",
            "updated_at",
        ]
        read_only_fields = ["id", "muted_until", "problem", "version", "created_at", "updated_at"]


@extend_schema_serializer(
    examples=[OpenApiExample("e-mail", value=CHANNEL_EXAMPLE, request_only=True)]
)
class AlertChannelSerializer(serializers.ModelSerializer[AlertChannel]):
    """Where notices go; its URL goes in and never comes out."""

    url = serializers.CharField(write_only=True, help_text="`log`, or a URL as Apprise takes it")
    kind = serializers.CharField(read_only=True, help_text="log, or the scheme of its URL")
    min_severity = serializers.ChoiceField(SEVERITIES, required=False)

    class Meta:
        model = AlertChannel
        fields = ["id", *CHANNEL_EXAMPLE, "kind", "version", "created_at", "updated_at"]
        read_only_fields = ["id", "kind", "version", "created_at", "updated_at"]


class AlertSerializer(serializers.ModelSerializer[Alert]):
    """One thing that a rule found, from when it began until it was over."""

    kind = serializers.ChoiceField(ALERT_KINDS)
    severity = serializers.ChoiceField(SEVERITIES)
    status = serializers.ChoiceField(ALERT_STATUSES)
    details = ObjectField()

    class Meta:
        model = Alert
        fields = [
            "id",
            "rule_id",
            "rule_name",
            "kind",
            "key",
            "severity",
            "status",
            "message",
            "details",
            "schedule_id",
            "owner_id",
            "count",
            "first_seen_at",
            "last_seen_at",
            "notified_at",
            "muted_until",
            "resolved_at",
        ]
        read_only_fields = fields


class AlertDeliverySerializer(serializers.ModelSerializer[AlertDelivery]):
    """One notice to one channel, and what became of it."""

    event = serializers.ChoiceField(words(NoticeEvent))
    status = serializers.ChoiceField(words(NoticeStatus))

    class Meta:
        model = AlertDelivery
        fields = [
            "id",
            "alert_id",
            "channel_id",
            "channel_name",
            "event",
            "status",
            "attempts",
            "next_at",
            "error",
            "sent_at",
            "created_at",
        ]
        read_only_fields = fields


class AlertWithNoticesSerializer(AlertSerializer):
    """An alert alone, with the notices about it."""

    deliveries = AlertDeliverySerializer(many=True, read_only=True)

    class Meta(AlertSerializer.Meta):
        fields = [*AlertSerializer.Meta.fields, "deliveries"]
        read_only_fields = fields

    def to_representation(self, instance: Alert) -> dict[str, Any]:
        rows = AlertDelivery.objects.filter(alert_id=instance.id).order_by("id")
        instance.deliveries = rows  # type: ignore[attr-defined]  # shown, not stored
        return super().to_representation(instance)


class MuteSerializer(StrictSerializer):
    until = serializers.DateTimeField(allow_null=True, help_text="null: not muted any more")
