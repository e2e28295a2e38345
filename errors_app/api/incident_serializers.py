"""The shapes of incidents, that is of executions that fail alike, over HTTP."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from errors_app.incidents import trends
from errors_app.incidents.trends import HOURS, Direction
from errors_app.models import Incident
from errors_app.taxonomy import ErrorClass, Severity
from executions_app.api.serializers import words
from executions_app.states import IncidentStatus

INCIDENT_EXAMPLE: Final = {
    "id": "0195f2c4-9000-7a0b-8d11-5a6b7c8d9e0f",
    "schedule_id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b",
    "name": "nightly report",
    "status": "open",
    "severity": "medium",
    "error_class": "timeout",
    "exception_type": "DeadlineExceeded",
    "title": "The time limit of <n> s has passed",
    "fingerprint": "9d5e3f0a1b2c4d6e",
    "count": 12,
    "first_seen_at": "2026-12-01T09:00:10.041Z",
    "last_seen_at": "2026-12-01T11:00:10.040Z",
    "last_error_id": "0195f2c4-8f00-7a0b-8d11-5a6b7c8d9e0f",
    "last_execution_id": "0195f2c4-7d1e-7f0a-9a55-3d2a6d1c9b11",
    "succeeded_at": None,
    "recovers_at": None,
    "resolved_at": None,
    "reopened_count": 0,
    "reopened_at": None,
    "handled_by": None,
    "handled_at": None,
    "note": "",
    "trend": {"direction": "steady", "hours": [0] * (HOURS - 3) + [4, 4, 4]},
}


class TrendSerializer(serializers.Serializer[Any]):
    """Errors per hour (UTC), the oldest first; the last one is the hour that runs."""

    direction = serializers.ChoiceField(words(Direction))
    hours = serializers.ListField(
        child=serializers.IntegerField(), min_length=HOURS, max_length=HOURS
    )


@extend_schema_serializer(
    examples=[OpenApiExample("a time-out again and again", INCIDENT_EXAMPLE, response_only=True)]
)
class IncidentSerializer(serializers.ModelSerializer[Incident]):
    """Errors of one schedule that are likes of each other; the context has their `trends`."""

    status = serializers.ChoiceField(words(IncidentStatus))
    severity = serializers.ChoiceField(words(Severity), help_text="the highest seen")
    error_class = serializers.ChoiceField(words(ErrorClass))
    trend = serializers.SerializerMethodField()

    class Meta:
        model = Incident
        fields = list(INCIDENT_EXAMPLE)
        read_only_fields = fields

    def get_trend(self, incident: Incident) -> dict[str, Any]:
        known = self.context.get("trends", {})
        return dict(TrendSerializer(known.get(incident.id, trends.NONE)).data)
