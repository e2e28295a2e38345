"""The shapes of schedules and of what is asked about them, over HTTP."""

from __future__ import annotations

import json
from typing import Any, Final

from drf_spectacular.utils import (
    OpenApiExample,
    extend_schema_field,
    extend_schema_serializer,
)
from rest_framework import serializers

from errors_app.api.serializers import ERROR_CLASSES
from errors_app.backoff import Jitter, Strategy
from executions_app.api.serializers import EXECUTION_STATUSES, ObjectField, StrictSerializer, words
from executions_app.states import Priority
from scheduler_app import next_run_source
from scheduler_app.api.decision_serializers import NextRunSourceSerializer
from scheduler_app.models import Schedule, UniqueMode
from scheduler_app.policies import CatchupPolicy, OutsideWindow, OverlapPolicy, TriggerType

MOST_PARAMETERS_BYTES: Final = 64 * 1024
MOST_FIRES: Final = 50
OVERLAP_POLICIES: Final = words(OverlapPolicy)
SCHEDULE_TYPES: Final = ["cron", "interval", "one_time"]
SCHEDULE_EXAMPLE: Final = {
    "id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b",
    "name": "nightly report",
    "owner": 1,
    "trigger_type": "time_based",
    "schedule_type": "cron",
    "schedule_config": {"cron": "0 9 * * *"},
    "timezone": "Europe/Berlin",
    "task_type": "http_request",
    "task_config": {"method": "POST", "url": "https://reports.example.com/nightly"},
    "priority": "normal",
    "enabled": True,
    "paused_until": None,
    "pause_reason": "",
    "timeout_ms": 300_000,
    "overlap_policy": "skip",
    "catchup_policy": "latest",
    "catchup_limit": 1,
    "catchup_window_ms": None,
    "retry_policy": {
        "max_retries": 3,
        "strategy": "exponential",
        "base_ms": 1000,
        "cap_ms": 300_000,
        "jitter": "full",
        "retryable_classes": ["transient", "timeout", "lost"],
    },
    "trigger_config": {},
    "start_at": None,
    "end_at": "2027-01-01T00:00:00Z",
    "max_runs": None,
    "execution_window": {"hours": ["09:00-17:00"], "weekdays": ["mon", "tue", "wed"]},
    "calendar": None,
    "outside_window": "skip",
    "jitter_ms": 0,
    "spread_ms": 0,
    "buffer_limit": 100,
    "run_ttl_ms": None,
    "pause_after_failures": 5,
    "max_concurrent": None,
    "limit_key": "",
    "unique_key": "",
    "unique_mode": "while_active",
    "unique_for_ms": None,
    "next_run_at": "2026-12-01T08:00:00Z",
    "next_run_source": {"kind": "rule", "decision_id": None},
    "last_run_at": None,
    "paused_at": None,
    "fired_count": 0,
    "missed_count": 0,
    "version": 1,
    "created_at": "2026-11-20T12:00:00Z",
    "updated_at": "2026-11-20T12:00:00Z",
}
CREATE_EXAMPLE: Final = {
    "name": "test-schedule",
    "taskType": "shell_command",
    "taskConfig": {"command": "echo hello"},
    "scheduleType": "interval",
    "scheduleConfig": {"intervalMs": 60_000},
}


class ClassPolicySerializer(serializers.Serializer[Any]):
    """What differs for errors of one class."""

    max_retries = serializers.IntegerField(
        min_value=0, max_value=100, required=False, help_text="at most that of all causes"
    )
    strategy = serializers.ChoiceField(words(Strategy), required=False)
    base_ms = serializers.IntegerField(min_value=1, required=False)
    cap_ms = serializers.IntegerField(min_value=1, required=False)
    jitter = serializers.ChoiceField(words(Jitter), required=False)


class RetryPolicySerializer(serializers.Serializer[Any]):
    """How often, after what and how far apart an execution is tried again."""

    max_retries = serializers.IntegerField(min_value=0, max_value=100, required=False)
    strategy = serializers.ChoiceField(words(Strategy), required=False)
    base_ms = serializers.IntegerField(min_value=1, required=False)
    cap_ms = serializers.IntegerField(min_value=1, required=False)
    jitter = serializers.ChoiceField(words(Jitter), required=False)
    retryable_classes = serializers.ListField(
        child=serializers.ChoiceField(ERROR_CLASSES), required=False
    )
    per_class = serializers.DictField(
        child=ClassPolicySerializer(),
        required=False,
        help_text="error class -> what differs for it: "
        '`{"timeout": {"max_retries": 1, "base_ms": 60000}}`',
    )


@extend_schema_serializer(
    examples=[
        OpenApiExample("a nightly report", value=SCHEDULE_EXAMPLE, response_only=True),
        OpenApiExample("every minute, in camelCase", value=CREATE_EXAMPLE, request_only=True),
    ]
)
class ScheduleSerializer(serializers.ModelSerializer[Schedule]):
    """Shows a schedule and documents what may be said of it; `definition.parse` checks that."""

    trigger_type = serializers.ChoiceField(words(TriggerType), required=False)
    schedule_type = serializers.ChoiceField(SCHEDULE_TYPES, allow_blank=True, required=False)
    schedule_config = ObjectField(
        required=False,
        help_text='`{"cron": "0 9 * * *"}`, `{"interval_ms": 60000}`, `{"every": "30 minutes"}` '
        'or `{"run_at": "2026-12-01T09:00:00Z"}`',
    )
    timezone = serializers.CharField(required=False, help_text="IANA zone; default UTC")
    task_config = ObjectField(required=False, help_text="what the task type takes")
    priority = serializers.ChoiceField(words(Priority), required=False)
    overlap_policy = serializers.ChoiceField(OVERLAP_POLICIES, required=False)
    catchup_policy = serializers.ChoiceField(words(CatchupPolicy), required=False)
    retry_policy = RetryPolicySerializer(required=False)
    trigger_config = ObjectField(
        required=False,
        help_text="what starts an event-driven or dependent schedule: "
        '`{"source": "webhook", "filter": {"kind": {"eq": "paid"}}}`, '
        '`{"source": "internal", "event": "execution:failed"}` or '
        '`{"upstreams": ["nightly report"], "on": "success", "mode": "any"}`',
    )
    execution_window = ObjectField(
        required=False,
        help_text="when it may start, in its zone: "
        '`{"hours": ["09:00-17:00"], "weekdays": ["mon", "fri"]}`; empty: always',
    )
    calendar = serializers.CharField(
        source="calendar_id",
        required=False,
        allow_null=True,
        help_text="a business calendar of its owner, by name or id; its id is shown",
    )
    outside_window = serializers.ChoiceField(words(OutsideWindow), required=False)
    unique_mode = serializers.ChoiceField(words(UniqueMode), required=False)
    next_run_source = serializers.SerializerMethodField()

    class Meta:
        model = Schedule
        fields = list(SCHEDULE_EXAMPLE)
        read_only_fields = [
            "id",
            "owner",
            "next_run_at",
            "next_run_source",
            "last_run_at",
            "paused_at",
            "fired_count",
            "missed_count",
            "version",
            "created_at",
            "updated_at",
        ]

    @extend_schema_field(NextRunSourceSerializer(allow_null=True))
    def get_next_run_source(self, schedule: Schedule) -> dict[str, Any] | None:
        known = self.context.get("decided")  # those of a list are asked for together
        decided = next_run_source.decisions([schedule]) if known is None else known
        return next_run_source.document(schedule, decided)

    def to_representation(self, instance: Schedule) -> dict[str, Any]:
        return {**super().to_representation(instance), "retry_policy": instance.retry_policy}


class StatsSerializer(serializers.Serializer[Any]):
    """How the executions of a schedule have gone, since it was created."""

    schedule_id = serializers.UUIDField()
    runs = serializers.IntegerField(help_text="executions that have ended, in whatever way")
    successes = serializers.IntegerField()
    failures = serializers.IntegerField()
    cancellations = serializers.IntegerField()
    mean_duration_ms = serializers.IntegerField(
        allow_null=True, help_text="of those that completed or failed; null: none has"
    )
    last_status = serializers.ChoiceField(EXECUTION_STATUSES, allow_null=True)
    last_success_at = serializers.DateTimeField(allow_null=True)
    consecutive_failures = serializers.IntegerField()


class TriggerSerializer(StrictSerializer):
    parameters = ObjectField(required=False, default=dict, help_text="for this run; <= 64 KiB")
    overlap = serializers.ChoiceField(
        OVERLAP_POLICIES, required=False, help_text="instead of the schedule's overlap policy"
    )
    unique_key = serializers.CharField(
        required=False,
        default="",
        max_length=200,
        help_text="instead of the schedule's; while it is taken no second execution is made",
    )

    def validate_parameters(self, value: dict[str, Any]) -> dict[str, Any]:
        if len(json.dumps(value, ensure_ascii=False).encode()) > MOST_PARAMETERS_BYTES:
            raise serializers.ValidationError(f"longer than {MOST_PARAMETERS_BYTES} bytes")
        return value


class TriggeredSerializer(serializers.Serializer[Any]):
    execution_id = serializers.UUIDField()
    id = serializers.UUIDField(help_text="the same")
    number = serializers.IntegerField(allow_null=True, help_text="null: it is not kept any more")
    status = serializers.ChoiceField(EXECUTION_STATUSES, allow_null=True)
    held_by = serializers.CharField(allow_null=True, help_text="what it waits for, if anything")
    duplicate = serializers.BooleanField(help_text="it was there already: none was made")


class PreviewSerializer(StrictSerializer):
    """A rule: `cron` alone, or a schedule type with its config; and when it does not count."""

    cron = serializers.CharField(required=False, trim_whitespace=False)
    schedule_type = serializers.ChoiceField(SCHEDULE_TYPES, required=False)
    schedule_config = ObjectField(required=False)
    timezone = serializers.CharField(required=False, default="UTC")
    start_at = serializers.DateTimeField(required=False, allow_null=True)
    end_at = serializers.DateTimeField(required=False, allow_null=True)
    max_runs = serializers.IntegerField(required=False, allow_null=True, min_value=1)
    execution_window = ObjectField(required=False)
    calendar = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    outside_window = serializers.ChoiceField(words(OutsideWindow), required=False)
    count = serializers.IntegerField(required=False, default=5, min_value=1, max_value=MOST_FIRES)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        super().validate(attrs)
        missing = [name for name in ("schedule_type", "schedule_config") if name not in attrs]
        if missing and "cron" not in attrs:
            raise serializers.ValidationError(
                dict.fromkeys(missing, "required, unless cron is given"), code="required"
            )
        begins, ends = attrs.get("start_at"), attrs.get("end_at")
        if begins and ends and ends <= begins:
            raise serializers.ValidationError({"end_at": "must be later than start_at"})
        return attrs


class FireSerializer(serializers.Serializer[Any]):
    utc = serializers.CharField()
    local = serializers.CharField(help_text="what the clock of the zone shows")
    offset = serializers.CharField()
    starts_at = serializers.CharField(help_text="when it may start: later where it waits")


class ExplanationSerializer(serializers.Serializer[Any]):
    """What a rule means."""

    sentence = serializers.CharField()
    fires = FireSerializer(many=True)
    warnings = serializers.ListField(child=serializers.CharField())
