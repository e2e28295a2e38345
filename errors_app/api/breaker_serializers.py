"""The shapes of breakers over HTTP: how the endpoints that executions call are doing."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from errors_app.models import BreakerTransition
from executions_app.api.serializers import words
from executions_app.states import BreakerStatus

BREAKER_STATES: Final = words(BreakerStatus)
EXAMPLE: Final = {
    "id": "0195f2c4-8f00-7a0b-8d11-5a6b7c8d9e0f",
    "key": "https://example.com:443",
    "state": "open",
    "since": "2026-12-01T09:00:10.041Z",
    "next_probe_at": "2026-12-01T09:00:40.041Z",
    "reason": "5 calls in a row failed",
    "is_live": True,
    "calls": 12,
    "failures": 7,
    "failures_in_row": 5,
    "success_rate": 0.4167,
    "latency_ms": 230,
    "opened_count": 1,
    "seen_at": "2026-12-01T08:59:58.120Z",
    "transitions": [
        {
            "from_state": "closed",
            "to_state": "open",
            "reason": "5 calls in a row failed",
            "failures": 7,
            "calls": 12,
            "at": "2026-12-01T09:00:10.041Z",
            "worker": "worker-1:4711",
        }
    ],
}


class TransitionSerializer(serializers.ModelSerializer[BreakerTransition]):
    """One change of state."""

    from_state = serializers.ChoiceField(BREAKER_STATES)
    to_state = serializers.ChoiceField(BREAKER_STATES)

    class Meta:
        model = BreakerTransition
        fields = ["from_state", "to_state", "reason", "failures", "calls", "at", "worker"]
        read_only_fields = fields


@extend_schema_serializer(
    examples=[OpenApiExample("an open one", value=EXAMPLE, response_only=True)]
)
class BreakerSerializer(serializers.Serializer[Any]):
    """One endpoint: its breaker, and its calls of the last minute (the window)."""

    id = serializers.UUIDField()
    key = serializers.CharField(
        help_text="scheme://host:port, with a path for a registered endpoint"
    )
    state = serializers.ChoiceField(BREAKER_STATES)
    since = serializers.DateTimeField(allow_null=True)
    next_probe_at = serializers.DateTimeField(
        allow_null=True, help_text="half_open: when the place of the probe is free again"
    )
    reason = serializers.CharField()
    is_live = serializers.BooleanField(
        help_text="false: Redis is away; state, since and reason are those of the last transition"
    )
    calls = serializers.IntegerField(allow_null=True)
    failures = serializers.IntegerField(allow_null=True)
    failures_in_row = serializers.IntegerField(allow_null=True)
    success_rate = serializers.FloatField(allow_null=True)
    latency_ms = serializers.IntegerField(allow_null=True, help_text="mean")
    opened_count = serializers.IntegerField()
    seen_at = serializers.DateTimeField(help_text="a call was made, to the hour")
    transitions = TransitionSerializer(many=True, help_text="the newest 5 of the last day")
