"""Over HTTP: how a registered endpoint has been doing for a day, and whether it is called."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app import calling_health
from agents_app.models import Endpoint
from executions_app import clock
from executions_app.api.base import ApiView
from executions_app.api.serializers import words
from executions_app.states import BreakerStatus

BREAKER_STATES: Final = words(BreakerStatus)
EXAMPLE: Final = {
    "id": "0195f2c4-8f00-7a0b-8d11-5a6b7c8d9e0f",
    "steps": 40,
    "failed": 2,
    "success_rate": 0.95,
    "latency_ms": 85,
    "p95_ms": 210,
    "last_success_at": "2026-12-01T09:00:10.041Z",
    "last_failure_at": "2026-12-01T07:30:00.512Z",
    "last_failure": "GET https://example.com/warm/eu answered 502",
    "state": "closed",
    "since": None,
    "next_probe_at": None,
    "reason": "",
}


@extend_schema_serializer(
    examples=[OpenApiExample("one that is well", value=EXAMPLE, response_only=True)]
)
class EndpointHealthSerializer(serializers.Serializer[Any]):
    """The steps of the last day that called this endpoint, and its breaker."""

    id = serializers.UUIDField()
    steps = serializers.IntegerField(help_text="that have ended; one that tried again counts once")
    failed = serializers.IntegerField()
    success_rate = serializers.FloatField(allow_null=True, help_text="0 to 1; null without steps")
    latency_ms = serializers.IntegerField(
        allow_null=True, help_text="mean of the steps that went well"
    )
    p95_ms = serializers.IntegerField(allow_null=True)
    last_success_at = serializers.DateTimeField(allow_null=True)
    last_failure_at = serializers.DateTimeField(allow_null=True)
    last_failure = serializers.CharField()
    state = serializers.ChoiceField(BREAKER_STATES, help_text="of its breaker")
    since = serializers.DateTimeField(allow_null=True)
    next_probe_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()


class EndpointHealth(ApiView[Endpoint]):
    rows = Endpoint.objects.all()
    serializer_class = EndpointHealthSerializer

    @extend_schema(operation_id="endpoint_health", responses=EndpointHealthSerializer)
    def get(self, _request: Request, endpoint_id: UUID) -> Response:
        """How an endpoint has been doing for a day; its owner and superusers may ask."""
        found = calling_health.of([self.find(id=endpoint_id)], now=clock.now())
        return Response(EndpointHealthSerializer(found[0]).data)
