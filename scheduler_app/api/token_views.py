"""What the models that a schedule's executions asked have used, over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app import usage
from executions_app import audit, clock
from executions_app.api import idempotent
from scheduler_app.api.views import ScheduleView
from scheduler_app.models import Schedule

MOST_DAYS: Final = 400
USUAL_DAYS: Final = 30
DAYS: Final = OpenApiParameter(
    "days", int, description=f"how far back, 1 to {MOST_DAYS}; default {USUAL_DAYS}"
)


class TokenSumsSerializer(serializers.Serializer[Any]):
    """Sums over calls of models; `estimated` are those whose provider reported no usage."""

    calls = serializers.IntegerField()
    failed = serializers.IntegerField()
    malformed = serializers.IntegerField()
    estimated = serializers.IntegerField()
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=20, decimal_places=6)


class TokenGroupSerializer(TokenSumsSerializer):
    key = serializers.CharField()


class TokenUsageSerializer(serializers.Serializer[Any]):
    """What a schedule has used since `since`; of `cycles` the thousand dearest."""

    schedule_id = serializers.UUIDField()
    since = serializers.DateTimeField()
    totals = TokenSumsSerializer()
    days = TokenGroupSerializer(many=True)
    models = TokenGroupSerializer(many=True)
    phases = TokenGroupSerializer(many=True)
    cycles = TokenGroupSerializer(many=True)


class TokenQuerySerializer(serializers.Serializer[Any]):
    days = serializers.IntegerField(min_value=1, max_value=MOST_DAYS, default=USUAL_DAYS)


class RecountedSerializer(TokenUsageSerializer):
    corrected = serializers.IntegerField(help_text="cycles whose stored sums were another")


class Tokens(ScheduleView):
    serializer_class = TokenUsageSerializer
    query_names = frozenset({"days"})

    @extend_schema(operation_id="schedule_tokens", parameters=[DAYS])
    def get(self, request: Request, schedule_id: UUID) -> Response:
        """Tokens and cost: in all, by day, model, phase and cycle."""
        return Response(self._report(request, self.find(id=schedule_id)))

    @extend_schema(
        operation_id="schedule_tokens_recount",
        parameters=[DAYS],
        request=None,
        responses=RecountedSerializer,
    )
    @idempotent.once
    def post(self, request: Request, schedule_id: UUID) -> Response:
        """Sum the calls anew, and store the sums with the cycles that have ended."""
        schedule = self.find(id=schedule_id)
        report = self._report(request, schedule)
        corrected = usage.recount(schedule.id)
        audit.record(
            self.actor,
            "schedule.tokens_recounted",
            object_type="schedule",
            object_id=schedule.id,
            now=clock.now(),
            after={"corrected": corrected},
        )
        return Response({**report, "corrected": corrected})

    def _report(self, request: Request, schedule: Schedule) -> dict[str, Any]:
        asked = TokenQuerySerializer(data=request.query_params.dict())
        asked.is_valid(raise_exception=True)
        since = clock.now() - timedelta(days=asked.validated_data["days"])
        which = usage.Which(schedule_id=schedule.id, since=since)
        groups: tuple[tuple[str, usage.By], ...] = (
            *(("days", "day"), ("models", "model")),
            *(("phases", "phase"), ("cycles", "cycle")),
        )
        report = {
            "schedule_id": schedule.id,
            "since": since,
            "totals": usage.totals(which).as_json(),
            **{name: [one.as_json() for one in usage.grouped(which, by=by)] for name, by in groups},
        }
        return dict(TokenUsageSerializer(report).data)
