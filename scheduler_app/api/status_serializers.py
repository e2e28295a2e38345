"""How REST shows the whole: whether it dispatches, what waits, and how long cycles take."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from executions_app.api.serializers import words
from executions_app.states import SystemStatus


class SlotsSerializer(serializers.Serializer[Any]):
    used = serializers.IntegerField()
    max = serializers.IntegerField(allow_null=True, help_text="null: any number")


class TimesSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    last_ms = serializers.IntegerField(help_text="in the newest cycle")
    mean_ms = serializers.IntegerField()
    total_ms = serializers.IntegerField()


class SchedulerStatusSerializer(serializers.Serializer[Any]):
    """How the whole stands."""

    state = serializers.ChoiceField(words(SystemStatus))
    scheduler_running = serializers.BooleanField(help_text="false: stopped by a person")
    last_tick_at = serializers.DateTimeField(allow_null=True)
    due = serializers.IntegerField(help_text="schedules and pending executions whose time has come")
    held = serializers.IntegerField(
        help_text="executions that wait for room, for a key or for others of their schedule"
    )
    running = serializers.IntegerField()
    queued = serializers.DictField(child=serializers.IntegerField(), help_text="by queue")
    slots = SlotsSerializer(help_text="simultaneous agent runs")
    cycles = serializers.DictField(
        child=TimesSerializer(),
        help_text="by stage, and `cycle`: those begun within the last hour that have ended",
    )
    problem = serializers.CharField(help_text="what keeps it from dispatching; empty: nothing")
