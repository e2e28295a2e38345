"""Declares the shape of an execution for the API's document; `shapes` makes it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from executions_app import shapes
from executions_app.models import Execution
from executions_app.states import ExecutionStatus, Outcome, Priority, Trigger


def words(known: Iterable[StrEnum]) -> list[str]:
    """The values of a closed list of words, as a ChoiceField takes them."""
    return [one.value for one in known]


EXECUTION_STATUSES: Final = words(ExecutionStatus)
EXECUTION_EXAMPLE: Final = {
    "id": "0195f2c4-7d1e-7f0a-9a55-3d2a6d1c9b11",
    "number": 7,
    "schedule": {"id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b", "name": "nightly report"},
    "trigger": "time",
    "status": "completed",
    "outcome": "ok",
    "task_type": "http_request",
    "priority": "normal",
    "parameters": {},
    "nominal_at": "2026-12-01T09:00:00Z",
    "due_at": "2026-12-01T09:00:00.012Z",
    "queued_at": "2026-12-01T09:00:00.012Z",
    "started_at": "2026-12-01T09:00:00.040Z",
    "completed_at": "2026-12-01T09:00:00.310Z",
    "duration_ms": 270,
    "attempt": 1,
    "max_attempts": 4,
    "worker": {"id": "worker-1:4711:9f1c2d3e", "host": "worker-1", "pid": 4711},
    "progress": {"done": 1, "total": 1, "failed": 0, "percent": 100, "current_step": ""},
    "cancel_requested": False,
    "held_by": None,
    "limit_key": "tenant:acme",
    "unique_key": None,
    "expires_at": None,
    "result": {"status": 200},
    "result_truncated": False,
    "usage": {"cpu_ms": 4.1, "peak_memory_kb": 91204, "read_kb": 0, "written_kb": 0},
    "last_error_id": None,
    "dead_letter_at": None,
}


class StrictSerializer(serializers.Serializer[Any]):
    """A request body in which a name that nobody reads is an error, not a silence."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(self.initial_data) - set(self.fields))
        if unknown:
            known = ", ".join(self.fields)
            raise serializers.ValidationError(
                {name: [f"there is no such field; known are {known}"] for name in unknown},
                code="unknown_field",
            )
        return attrs


class ScheduleReferenceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(allow_null=True)
    name = serializers.CharField(help_text="as it was when the execution was made")


class WorkerSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    host = serializers.CharField()
    pid = serializers.IntegerField(allow_null=True)


class UsageSerializer(serializers.Serializer[Any]):
    cpu_ms = serializers.FloatField(help_text="of its thread and of the programs it started")
    peak_memory_kb = serializers.IntegerField(
        help_text="of its programs, looked at five times a second; without any, of its worker's "
        "process since its start"
    )
    read_kb = serializers.IntegerField(help_text="from the disk, not what the cache had")
    written_kb = serializers.IntegerField(help_text="to the disk")


class ProgressSerializer(serializers.Serializer[Any]):
    done = serializers.IntegerField()
    total = serializers.IntegerField()
    failed = serializers.IntegerField()
    percent = serializers.IntegerField(min_value=0, max_value=100)
    current_step = serializers.CharField()


@extend_schema_field({"description": "any JSON"})
class AnyJSONField(serializers.JSONField):
    """A value whose shape the task type decides."""


@extend_schema_field({"type": "object", "additionalProperties": {}})
class ObjectField(serializers.JSONField):
    """A JSON object of free names."""

    default_error_messages = {"not_an_object": "not an object; send one such as {{}}"}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_an_object")
        return data


@extend_schema_serializer(
    examples=[OpenApiExample("a good run", value=EXECUTION_EXAMPLE, response_only=True)]
)
class ExecutionSerializer(serializers.Serializer[Execution]):
    id = serializers.UUIDField()
    number = serializers.IntegerField(help_text="the short id; paths take either")
    schedule = ScheduleReferenceSerializer()
    trigger = serializers.ChoiceField(words(Trigger))
    status = serializers.ChoiceField(EXECUTION_STATUSES)
    outcome = serializers.ChoiceField(words(Outcome), allow_null=True)
    task_type = serializers.CharField()
    priority = serializers.ChoiceField(words(Priority))
    parameters = ObjectField()
    nominal_at = serializers.DateTimeField(allow_null=True, help_text="its planned instant")
    due_at = serializers.DateTimeField()
    queued_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True, help_text="of the last attempt")
    attempt = serializers.IntegerField(help_text="tries that were made")
    max_attempts = serializers.IntegerField()
    worker = WorkerSerializer(allow_null=True)
    progress = ProgressSerializer()
    cancel_requested = serializers.BooleanField()
    held_by = serializers.CharField(allow_null=True, help_text="what it waits for, if anything")
    limit_key = serializers.CharField(allow_null=True, help_text="limits on `key:...` are about it")
    unique_key = serializers.CharField(allow_null=True, help_text="it is the only one that has it")
    expires_at = serializers.DateTimeField(allow_null=True, help_text="then it starts no more")
    result = AnyJSONField(allow_null=True)
    result_truncated = serializers.BooleanField()
    usage = UsageSerializer(allow_null=True, help_text="of the last attempt, once it has ended")
    last_error_id = serializers.UUIDField(allow_null=True)
    dead_letter_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        return shapes.execution(instance)


class ExecutionProgressSerializer(serializers.Serializer[Execution]):
    """How far an execution is."""

    execution_id = serializers.UUIDField()
    number = serializers.IntegerField()
    status = serializers.ChoiceField(EXECUTION_STATUSES)
    attempt = serializers.IntegerField()
    progress = ProgressSerializer()

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        return {
            "execution_id": instance.id,
            "number": instance.number,
            "status": instance.status,
            "attempt": instance.attempt,
            "progress": shapes.progress(instance),
        }


class LeaseSerializer(serializers.Serializer[Execution]):
    """The lease that a worker holds on a running execution."""

    execution_id = serializers.UUIDField(help_text="the lease's key")
    number = serializers.IntegerField()
    name = serializers.CharField()
    owner = serializers.CharField(help_text="the worker")
    attempt = serializers.IntegerField()
    acquired_at = serializers.DateTimeField()
    heartbeat_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    extensions = serializers.IntegerField()
    age_ms = serializers.IntegerField()
    is_expired = serializers.BooleanField(help_text="the rescuer takes it next")

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        return shapes.lease(instance, now=self.context["now"])
