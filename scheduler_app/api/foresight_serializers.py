"""The shapes of fires past and to come, over HTTP; `foresight_shapes` makes them."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from executions_app.api.serializers import ExecutionSerializer, StrictSerializer, words
from scheduler_app.backfills import MOST_CONCURRENT
from scheduler_app.foresight import shapes as foresight_shapes
from scheduler_app.foresight.lint_rows import Linted
from scheduler_app.models import FireRecord
from scheduler_app.models_sources import BackfillStatus
from scheduler_app.policies import FireReason

FIRE_REASONS: Final = words(FireReason)
BACKFILL_STATUSES: Final = words(BackfillStatus)


class FireRecordSerializer(serializers.Serializer[FireRecord]):
    """What became of one planned fire, or of `count` of them up to `nominal_until`."""

    id = serializers.UUIDField()
    schedule_id = serializers.UUIDField()
    nominal_at = serializers.DateTimeField(help_text="its planned instant")
    nominal_until = serializers.DateTimeField(allow_null=True, help_text="of the last of several")
    count = serializers.IntegerField()
    reason = serializers.ChoiceField(FIRE_REASONS)
    cause = serializers.CharField(help_text="empty: time; else what else fired it")
    execution_id = serializers.UUIDField(allow_null=True)
    lateness_ms = serializers.IntegerField(help_text="from its instant to the record")
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: FireRecord) -> dict[str, Any]:
        return foresight_shapes.fire(instance)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "an instant beside the rule",
            response_only=True,
            value={
                "at": "2026-12-01T12:00:00Z",
                "code": "not_a_fire",
                "sentence": "2026-12-01T12:00:00Z is no fire of its rule (At 09:00 (UTC)); the "
                "nearest fires are 2026-12-01T09:00:00Z and 2026-12-02T09:00:00Z.",
                "fire": None,
                "execution": None,
            },
        )
    ]
)
class WhySerializer(serializers.Serializer[Any]):
    """Why a fire did or did not run, from the rows alone."""

    at = serializers.DateTimeField()
    code = serializers.CharField(
        help_text="the reason of its record; without one: not_created, not_started, not_timed, "
        "not_a_fire, out_of_bounds, disabled, finished, paused, retimed, not_due, stopped, "
        "no_beat, being_dispatched, not_kept, unrecorded"
    )
    sentence = serializers.CharField()
    fire = FireRecordSerializer(allow_null=True)
    execution = ExecutionSerializer(allow_null=True)


class ComingSerializer(serializers.Serializer[Any]):
    nominal_at = serializers.DateTimeField()
    schedule_id = serializers.UUIDField()
    name = serializers.CharField()
    reason = serializers.ChoiceField(FIRE_REASONS, help_text="what will become of it if it is free")
    due_at = serializers.DateTimeField(allow_null=True, help_text="with window, jitter and spread")


class BusyMinuteSerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    count = serializers.IntegerField()


class UpcomingSerializer(serializers.Serializer[Any]):
    """The fires to come, the soonest first."""

    next = serializers.URLField(allow_null=True)
    until = serializers.DateTimeField(help_text="up to which nothing is left out")
    is_complete = serializers.BooleanField(help_text="false: `until` is earlier than asked for")
    fires = ComingSerializer(many=True)
    busiest_minutes = BusyMinuteSerializer(many=True)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}


class UpcomingQuerySerializer(serializers.Serializer[Any]):
    hours = serializers.IntegerField(default=24, min_value=1, max_value=31 * 24)
    limit = serializers.IntegerField(default=100, min_value=1, max_value=1000)
    cursor = serializers.CharField(required=False, help_text="from `next`")


class WhyQuerySerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField(
        required=False,
        help_text="the fire of that minute, second or instant; without it the latest",
    )


class FindingSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class LintedSerializer(serializers.Serializer[Any]):
    """A schedule with what will go wrong with it."""

    schedule_id = serializers.UUIDField()
    name = serializers.CharField()
    findings = FindingSerializer(many=True)

    def to_representation(self, instance: Linted) -> dict[str, Any]:
        return foresight_shapes.linted(instance)


class NewBackfillSerializer(StrictSerializer):
    """A range of planned instants, both ends included."""

    until = serializers.DateTimeField()
    max_concurrent = serializers.IntegerField(
        default=1, min_value=1, max_value=MOST_CONCURRENT, help_text="executions at once"
    )
    dry_run = serializers.BooleanField(default=False, help_text="only say what would run")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}


class BackfillPlanSerializer(serializers.Serializer[Any]):
    """What a backfill would run."""

    runs = serializers.IntegerField()
    skipped = serializers.IntegerField(help_text="kept out by its window or calendar")
    recorded = serializers.IntegerField(help_text="of the range have run by themselves")
    first_fires = serializers.ListField(child=serializers.DateTimeField())
    last_fire = serializers.DateTimeField(allow_null=True)


class BackfillSerializer(serializers.Serializer[Any]):
    """A backfill and how far it has come."""

    id = serializers.UUIDField()
    schedule_id = serializers.UUIDField()
    until = serializers.DateTimeField()
    status = serializers.ChoiceField(BACKFILL_STATUSES)
    total = serializers.IntegerField(help_text="fires to run")
    made = serializers.IntegerField(help_text="executions made")
    active = serializers.IntegerField(help_text="of those that have not ended")
    max_concurrent = serializers.IntegerField()
    cursor = serializers.DateTimeField(allow_null=True, help_text="the last instant looked at")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {"from": serializers.DateTimeField(), **super().get_fields()}
