"""The shapes of what an AI decided about next runs, over HTTP."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from executions_app.api.serializers import (
    ObjectField,
    ScheduleReferenceSerializer,
    StrictSerializer,
    words,
)
from executions_app.states import DecisionStatus
from scheduler_app.adoption_advice import Autonomy
from scheduler_app.models import DecisionKind, ScheduleDecision

MOST_REASON: Final = 2000
DECISION_EXAMPLE: Final = {
    "id": "0195f2c4-9d00-7a0b-8d11-5a6b7c8d9e0f",
    "schedule": {"id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b", "name": "warm the caches"},
    "execution_id": "0195f2c4-7d1e-7f0a-9a55-3d2a6d1c9b11",
    "source": "model",
    "kind": "next_run_at",
    "autonomy": "propose",
    "status": "proposed",
    "proposed": {"action": "next_run_at", "next_run_at": "2026-12-01T18:00:00Z"},
    "clamped": {"next_run_at": "2026-12-01T17:00:00Z"},
    "notes": [
        {
            "limit": "max_interval",
            "before": "2026-12-01T18:00:00Z",
            "after": "2026-12-01T17:00:00Z",
        }
    ],
    "seen_version": 3,
    "seen_next_run_at": "2026-12-01T10:00:00Z",
    "reason": "the caches are warm and traffic is low",
    "refusal": "",
    "confidence": 0.8,
    "expires_at": "2026-12-01T10:00:00Z",
    "decided_by": None,
    "decided_at": None,
    "created_at": "2026-12-01T09:00:12Z",
}


class NoteOfLimitSerializer(serializers.Serializer[Any]):
    """That a limit moved a proposed time."""

    limit = serializers.CharField(
        help_text="min_interval, max_interval, longest_pause, past, start_at, window or calendar"
    )
    before = serializers.DateTimeField()
    after = serializers.DateTimeField()


class NextRunSourceSerializer(serializers.Serializer[Any]):
    """Where a next run comes from."""

    kind = serializers.ChoiceField(["rule", "decision"])
    decision_id = serializers.UUIDField(
        allow_null=True, help_text="of the AI, under /api/scheduler/decisions"
    )


@extend_schema_serializer(
    examples=[OpenApiExample("a proposal", value=DECISION_EXAMPLE, response_only=True)]
)
class DecisionSerializer(serializers.Serializer[ScheduleDecision]):
    """What an AI, or a fallback in its place, decided about the next run of a schedule."""

    id = serializers.UUIDField()
    schedule = ScheduleReferenceSerializer(help_text="without a name: it was deleted")
    execution_id = serializers.UUIDField(allow_null=True, help_text="the run that decided")
    kind = serializers.ChoiceField(words(DecisionKind))
    autonomy = serializers.ChoiceField(words(Autonomy), help_text="of the schedule at that time")
    status = serializers.ChoiceField(words(DecisionStatus))
    proposed = ObjectField(help_text="as it was proposed, with what its limits are reckoned from")
    clamped = ObjectField(help_text="what the limits of the schedule made of it")
    notes = NoteOfLimitSerializer(many=True)
    seen_version = serializers.IntegerField(help_text="of the schedule, as the AI saw it")
    seen_next_run_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(help_text="the proposer's")
    refusal = serializers.CharField(help_text="why it was refused, superseded or has expired")
    confidence = serializers.FloatField(allow_null=True, min_value=0, max_value=1)
    expires_at = serializers.DateTimeField(help_text="a proposal stands until then")
    decided_by = serializers.IntegerField(allow_null=True, help_text="null: nobody, or the AI")
    decided_at = serializers.DateTimeField(allow_null=True)
    created_at = serializers.DateTimeField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        words_of_source = "model, last_good, fallback:adaptive, fallback:interval or budget"
        source = serializers.CharField(help_text=words_of_source)  # a field's own name is taken
        return {**super().get_fields(), "source": source}

    def to_representation(self, instance: ScheduleDecision) -> dict[str, Any]:
        names = self.context.get("names", {})
        shown = {name: getattr(instance, name) for name in DECISION_EXAMPLE if name != "schedule"}
        shown["schedule"] = {
            "id": instance.schedule_id,
            "name": names.get(instance.schedule_id),
        }
        shown["decided_by"] = instance.decided_by_id
        return {name: shown[name] for name in DECISION_EXAMPLE}


class RejectSerializer(StrictSerializer):
    """Why a person says no."""

    reason = serializers.CharField(max_length=MOST_REASON, help_text="for whoever reads it later")
