"""Schedules of agents over HTTP: the one of each, and all that an AI carries out."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.models import Agent
from executions_app.api import idempotent, problem
from executions_app.api.serializers import EXECUTION_STATUSES, words
from executions_app.states import Priority
from scheduler_app import agent_schedules, next_run_source, permissions, schedules
from scheduler_app.api import preconditions
from scheduler_app.api.decision_serializers import NextRunSourceSerializer
from scheduler_app.api.filters import ScheduleFilter
from scheduler_app.api.serializers import ScheduleSerializer
from scheduler_app.api.views import IF_MATCH, READ_ONLY, ScheduleView
from scheduler_app.definition import Definition
from scheduler_app.models import Schedule

COLUMNS: Final = ("priority", "enabled", "paused_until", "next_run_at", "last_run_at")


class NamedSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(allow_null=True)
    name = serializers.CharField()


class ScheduledAgentSerializer(serializers.Serializer[Any]):
    """A schedule that an AI carries out: who, when next, and how it went last."""

    schedule = NamedSerializer()
    agent = NamedSerializer(
        allow_null=True, help_text="null: chosen by capability; its id is null if it is gone"
    )
    autonomy = serializers.CharField()
    priority = serializers.ChoiceField(words(Priority))
    enabled = serializers.BooleanField()
    paused_until = serializers.DateTimeField(allow_null=True)
    next_run_at = serializers.DateTimeField(allow_null=True)
    next_run_source = NextRunSourceSerializer(allow_null=True)
    last_run_at = serializers.DateTimeField(allow_null=True)
    last_status = serializers.ChoiceField(EXECUTION_STATUSES, allow_null=True)

    def to_representation(self, instance: Schedule) -> dict[str, Any]:
        config = instance.task_config
        shown: dict[str, Any] = super().to_representation(
            {
                "schedule": {"id": instance.id, "name": instance.name},
                "agent": self._agent(config.get("agent")),
                "autonomy": config.get("autonomy", "off"),
                "last_status": instance.last_status or None,
                "next_run_source": next_run_source.document(instance, self.context["decided"]),
                **{name: getattr(instance, name) for name in COLUMNS},
            }
        )
        return shown

    def _agent(self, name: str | None) -> dict[str, Any] | None:
        return {"id": self.context["agent_ids"].get(name), "name": name} if name else None


class Scheduled(ScheduleView):
    rows = Schedule.objects.filter(task_type=agent_schedules.TASK_TYPE)
    serializer_class = ScheduledAgentSerializer
    filterset_class = ScheduleFilter

    @extend_schema(operation_id="agent_scheduled", responses=ScheduledAgentSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Schedules that an AI carries out, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        names = {one.task_config.get("agent") for one in page}
        ids = dict(Agent.objects.filter(name__in=names - {None}).values_list("name", "id"))
        decided = next_run_source.decisions(page)
        context = {**self.get_serializer_context(), "agent_ids": ids, "decided": decided}
        shown = ScheduledAgentSerializer(page, many=True, context=context)
        return self.get_paginated_response(shown.data)


class AgentSchedule(ScheduleView):
    """The caller's first schedule that names the agent; others by `?agent=` in the list."""

    @extend_schema(operation_id="agent_schedule_read")
    def get(self, _request: Request, agent_id: UUID) -> Response:
        """The agent's schedule; its ETag is its version."""
        return self.shown(self._existing(agent_id))

    @extend_schema(
        operation_id="agent_schedule_put",
        parameters=[IF_MATCH],
        responses={
            200: OpenApiResponse(ScheduleSerializer, "It was there and is changed"),
            201: ScheduleSerializer,
        },
    )
    @idempotent.once
    def post(self, request: Request, agent_id: UUID) -> Response:
        """Make the agent's schedule, or change the fields of it that are given."""
        agent = self._agent(agent_id)
        seen = agent_schedules.primary(agent, owner_id=self.user.pk)
        if seen is None:
            parsed = self._parsed(agent, None)
            made, is_new = agent_schedules.create(
                agent, parsed, owner_id=self.user.pk, actor=self.actor
            )
            if is_new:
                where = reverse("api:schedule", args=[made.id])
                return self.shown(made, status=201, Location=where)
            seen = made
        return self._changed(request, agent, seen)

    @extend_schema(
        operation_id="agent_schedule_delete", parameters=[IF_MATCH], responses={204: None}
    )
    def delete(self, request: Request, agent_id: UUID) -> Response:
        """Remove the agent's schedule; the agent stays."""
        seen = self._existing(agent_id)
        preconditions.check(request, seen)
        schedules.delete(seen.id, actor=self.actor)
        return Response(status=204)

    def _changed(self, request: Request, agent: Agent, seen: Schedule) -> Response:
        preconditions.check(request, seen)
        parsed = self._parsed(agent, seen)
        try:
            changed = schedules.update(seen.id, parsed, actor=self.actor, version=seen.version)
        except schedules.VersionChanged as error:
            if "If-Match" in request.headers:
                raise
            raise problem.conflict(error) from None
        return self.shown(changed)

    def _agent(self, agent_id: UUID) -> Agent:
        found = Agent.objects.filter(id=agent_id).first()
        if found is None:
            raise Http404
        return found

    def _existing(self, agent_id: UUID) -> Schedule:
        found = agent_schedules.primary(self._agent(agent_id), owner_id=self.user.pk)
        if found is None:
            raise Http404
        return found

    def _parsed(self, agent: Agent, seen: Schedule | None) -> Definition:
        given = {name: value for name, value in self.body.items() if name not in READ_ONLY}
        parsed = agent_schedules.parse(agent, given, seen=seen)
        permissions.check_task_type(self.user, parsed.task_type)
        return parsed
