"""The shapes of business calendars and limits, over HTTP."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from executions_app.api.serializers import StrictSerializer
from scheduler_app.api.filters import ScheduleFilter
from scheduler_app.limiting.limits import KEY_HELP
from scheduler_app.models import BusinessCalendar, Limit
from scheduler_app.windows import WEEKDAYS

CALENDAR_EXAMPLE: Final = {
    "name": "Berlin office",
    "timezone": "Europe/Berlin",
    "weekend": ["sat", "sun"],
    "holidays": [{"date": "2026-12-25", "name": "Christmas Day"}],
    "blackouts": [
        {"from": "2026-12-24T18:00:00Z", "to": "2026-12-27T06:00:00Z", "reason": "stocktaking"}
    ],
}
LIMIT_EXAMPLE: Final = {
    "key": "key:tenant:*",
    "max_concurrent": 5,
    "rate_count": 100,
    "rate_period_ms": 60_000,
    "note": "agreed with the tenants",
}
COMPUTED: Final = ["id", "version", "created_at", "updated_at"]


class HolidaySerializer(serializers.Serializer[Any]):
    date = serializers.DateField()
    name = serializers.CharField(required=False, allow_blank=True)


class BlackoutSerializer(serializers.Serializer[Any]):
    """Closed from an instant up to another."""

    to = serializers.DateTimeField()
    reason = serializers.CharField(required=False, allow_blank=True)

    def get_fields(self) -> dict[str, Any]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}


@extend_schema_serializer(
    examples=[OpenApiExample("an office", value=CALENDAR_EXAMPLE, request_only=True)]
)
class CalendarSerializer(serializers.ModelSerializer[BusinessCalendar]):
    """Shows a business calendar; `calendars.parse` checks what is said of it."""

    timezone = serializers.CharField(required=False, help_text="IANA zone; default UTC")
    weekend = serializers.ListField(
        child=serializers.ChoiceField(list(WEEKDAYS)), required=False, help_text="default sat, sun"
    )
    holidays = HolidaySerializer(many=True, required=False)
    blackouts = BlackoutSerializer(many=True, required=False)

    class Meta:
        model = BusinessCalendar
        fields = ["id", "owner", *CALENDAR_EXAMPLE, "version", "created_at", "updated_at"]
        read_only_fields = ["owner", *COMPUTED]

    def to_representation(self, instance: BusinessCalendar) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return {**shown, "holidays": instance.holidays, "blackouts": instance.blackouts}


@extend_schema_serializer(
    examples=[OpenApiExample("each tenant alone", value=LIMIT_EXAMPLE, request_only=True)]
)
class LimitSerializer(serializers.ModelSerializer[Limit]):
    """Shows a limit; `limits.parse` checks what is said of it."""

    key = serializers.CharField(help_text=KEY_HELP)

    class Meta:
        model = Limit
        fields = ["id", *LIMIT_EXAMPLE, "version", "created_at", "updated_at"]
        read_only_fields = COMPUTED


class ManySerializer(StrictSerializer):
    """Which schedules: ids, or the filters of their list; one of the two."""

    ids = serializers.ListField(child=serializers.UUIDField(), required=False, max_length=1000)
    filter = serializers.DictField(
        child=serializers.CharField(allow_blank=True),
        required=False,
        help_text='as in the query of the list, such as `{"task_type": "http_request"}`; '
        "`{}` are all",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        super().validate(attrs)
        if ("ids" in attrs) == ("filter" in attrs):
            raise serializers.ValidationError({"filter": ["give ids or a filter, one of them"]})
        unknown = sorted(set(attrs.get("filter", {})) - set(ScheduleFilter.base_filters))
        if unknown:
            known = ", ".join(ScheduleFilter.base_filters)
            raise serializers.ValidationError(
                {"filter": [f"there is no filter {unknown[0]!r}; known are {known}"]}
            )
        return attrs


class PauseManySerializer(ManySerializer):
    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=500)
    until = serializers.DateTimeField(
        required=False, default=None, allow_null=True, help_text="null: until they are resumed"
    )


class RefusedSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    detail = serializers.CharField()


class DoneToManySerializer(serializers.Serializer[Any]):
    changed = serializers.IntegerField()
    refused = RefusedSerializer(many=True)
    remaining = serializers.IntegerField(help_text="left for the next request; more than 0: repeat")
