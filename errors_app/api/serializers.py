"""The shapes of what went wrong with executions, over HTTP."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from errors_app import edited_input, history
from errors_app.edited_input import UnusableParameters
from errors_app.models import DeadLetter, ErrorRecord
from errors_app.taxonomy import ErrorClass, Severity
from executions_app.api.serializers import (
    EXECUTION_STATUSES,
    ObjectField,
    StrictSerializer,
    words,
)
from executions_app.states import RecoveryStatus

ERROR_CLASSES: Final = words(ErrorClass)
DUE_AT: Final = serializers.DateTimeField()
ERROR_EXAMPLE: Final = {
    "id": "0195f2c4-8f00-7a0b-8d11-5a6b7c8d9e0f",
    "execution_id": "0195f2c4-7d1e-7f0a-9a55-3d2a6d1c9b11",
    "schedule_id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b",
    "attempt": 1,
    "worker_id": "worker-1:4711:9f1c2d3e",
    "started_at": "2026-12-01T09:00:00.040Z",
    "ended_at": "2026-12-01T09:00:10.041Z",
    "error_class": "timeout",
    "exception_type": "DeadlineExceeded",
    "message": "The time limit of 10 s has passed",
    "stack": "",
    "context": {"name": "nightly report", "attempt": 1, "max_attempts": 4},
    "severity": "medium",
    "fingerprint": "9d5e3f0a1b2c4d6e",
    "incident_id": "0195f2c4-9000-7a0b-8d11-5a6b7c8d9e0f",
    "recovery_status": "retry_scheduled",
    "retry_at": "2026-12-01T09:00:10.700Z",
    "handled_by": None,
    "handled_at": None,
    "note": "",
    "created_at": "2026-12-01T09:00:10.041Z",
    "updated_at": "2026-12-01T09:00:10.041Z",
}


@extend_schema_serializer(
    examples=[OpenApiExample("a time-out", value=ERROR_EXAMPLE, response_only=True)]
)
class ErrorRecordSerializer(serializers.ModelSerializer[ErrorRecord]):
    """One failed attempt and what was done about it."""

    error_class = serializers.ChoiceField(ERROR_CLASSES)
    severity = serializers.ChoiceField(words(Severity))
    recovery_status = serializers.ChoiceField(words(RecoveryStatus))
    context = ObjectField()  # type: ignore[assignment]  # a field, not the serializer's own

    class Meta:
        model = ErrorRecord
        fields = list(ERROR_EXAMPLE)
        read_only_fields = fields


class DecidedErrorSerializer(ErrorRecordSerializer):
    """An error that was decided about, and its execution, which no such decision stops."""

    execution_status = serializers.ChoiceField(
        EXECUTION_STATUSES, allow_null=True, help_text="as it is now; null: not kept any more"
    )
    execution_due_at = serializers.DateTimeField(
        allow_null=True,
        help_text="when it is tried again all the same, unless you cancel it; null: it is not",
    )

    class Meta(ErrorRecordSerializer.Meta):
        fields = [*ErrorRecordSerializer.Meta.fields, "execution_status", "execution_due_at"]
        read_only_fields = fields

    def to_representation(self, instance: ErrorRecord) -> dict[str, Any]:
        outlook = history.outlooks([instance])[instance.id]
        at = outlook.tried_at
        return {
            **ErrorRecordSerializer(instance).data,
            "execution_status": outlook.status,
            "execution_due_at": at and DUE_AT.to_representation(at),
        }


class DeadLetterSerializer(serializers.ModelSerializer[DeadLetter]):
    """An execution that was given up."""

    payload = ObjectField(help_text="its snapshot and parameters")
    error_class = serializers.ChoiceField(ERROR_CLASSES)
    handling = serializers.ChoiceField(["requeued", "discarded"], allow_blank=True)

    class Meta:
        model = DeadLetter
        fields = [
            "id",
            "execution_id",
            "schedule_id",
            "payload",
            "attempts",
            "last_error_id",
            "error_class",
            "message",
            "handling",
            "handled_by",
            "handled_at",
            "created_at",
        ]
        read_only_fields = fields


class FailedAttemptSerializer(serializers.ModelSerializer[ErrorRecord]):
    """One failed attempt in a few words; its error record has the rest."""

    error_class = serializers.ChoiceField(ERROR_CLASSES)
    severity = serializers.ChoiceField(words(Severity))
    recovery_status = serializers.ChoiceField(words(RecoveryStatus))

    class Meta:
        model = ErrorRecord
        fields = [
            "id",
            "attempt",
            "worker_id",
            "started_at",
            "ended_at",
            "error_class",
            "exception_type",
            "message",
            "severity",
            "recovery_status",
        ]
        read_only_fields = fields


class ToldDeadLetterSerializer(DeadLetterSerializer):
    """A dead letter alone, with what led to it."""

    execution_status = serializers.ChoiceField(
        EXECUTION_STATUSES, allow_null=True, help_text="as it is now; null: not kept any more"
    )
    last_error = ErrorRecordSerializer(allow_null=True, help_text="with its stack and context")
    failed_attempts = FailedAttemptSerializer(many=True, help_text="the last 100, oldest first")

    class Meta(DeadLetterSerializer.Meta):
        fields = [
            *DeadLetterSerializer.Meta.fields,
            "execution_status",
            "last_error",
            "failed_attempts",
        ]
        read_only_fields = fields

    def to_representation(self, instance: DeadLetter) -> dict[str, Any]:
        story = history.of_letter(instance)
        last = story.last_error
        return {
            **DeadLetterSerializer(instance).data,
            "execution_status": story.execution_status,
            "last_error": None if last is None else ErrorRecordSerializer(last).data,
            "failed_attempts": FailedAttemptSerializer(story.failed_attempts, many=True).data,
        }


class NoteSerializer(StrictSerializer):
    note = serializers.CharField(
        max_length=2000, required=False, allow_blank=True, default="", help_text="why"
    )


class RetrySerializer(NoteSerializer):
    parameters = ObjectField(
        required=False, help_text="instead of the execution's own, as a whole; <= 64 KiB"
    )

    def validate_parameters(self, value: dict[str, Any]) -> dict[str, Any]:
        try:
            return edited_input.check(value)
        except UnusableParameters as error:
            raise serializers.ValidationError(str(error)) from None


class RecoveryStateSerializer(serializers.Serializer[Any]):
    """How recovery stands, counted over the errors that the caller may see."""

    running = serializers.BooleanField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    by_severity = serializers.DictField(child=serializers.IntegerField())
    open_dead_letters = serializers.IntegerField()
    next_retry_at = serializers.DateTimeField(allow_null=True)
    last_run_at = serializers.DateTimeField(allow_null=True)
    is_partial = serializers.BooleanField(
        help_text="true: of what is closed only the newest 10,000 are counted"
    )
