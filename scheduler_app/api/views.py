"""Schedules over HTTP: create, read, change, delete and trigger them."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from executions_app.api import idempotent, problem, request_ids
from executions_app.api.base import ApiView
from executions_app.api.problem import FieldError, Problem
from executions_app.api.views import location
from scheduler_app import by_hand, definition, next_run_source, permissions, schedules, stats
from scheduler_app.admission import StillActive
from scheduler_app.api import preconditions
from scheduler_app.api.filters import ScheduleFilter
from scheduler_app.api.serializers import (
    ScheduleSerializer,
    StatsSerializer,
    TriggeredSerializer,
    TriggerSerializer,
)
from scheduler_app.by_hand import Wanted
from scheduler_app.definition import Definition, InvalidDefinition
from scheduler_app.limiting.key_templates import MissingValue
from scheduler_app.models import Schedule
from scheduler_app.policies import OverlapPolicy

READ_ONLY: Final = frozenset(ScheduleSerializer.Meta.read_only_fields)
IF_MATCH: Final = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="the ETag that was read; else 412"
)


def name_taken(error: Exception) -> Problem:
    return problem.invalid([FieldError("/name", "unique", str(error))])


def version_changed(error: Exception) -> Problem:
    return Problem(412, "version_changed", str(error))


def parameter_missing(error: MissingValue) -> Problem:
    path = str(error.context["path"]).split(".")
    where = problem.pointer("parameters", *path)
    return problem.invalid([FieldError(where, "required", str(error))])


class ScheduleView(ApiView[Schedule]):
    rows = Schedule.objects.all()
    serializer_class: type[BaseSerializer[Any]] = ScheduleSerializer
    ordering_fields = ("created_at", "name", "next_run_at", "last_run_at", "updated_at")
    meanings = {
        InvalidDefinition: problem.misfitting,
        schedules.NameTaken: name_taken,
        schedules.VersionChanged: version_changed,
        schedules.Needed: problem.conflict,
        permissions.OperatorNeeded: problem.operator_needed,
    }

    def parse(self, words: dict[str, Any]) -> Definition:
        """The checked definition, if the caller may have such a schedule."""
        parsed = definition.parse(words)
        permissions.check_task_type(self.user, parsed.task_type)
        return parsed

    def shown(self, schedule: Schedule, *, status: int = 200, **headers: str) -> Response:
        return self.answer(schedule, status=status, ETag=preconditions.etag(schedule), **headers)


class Schedules(ScheduleView):
    filterset_class = ScheduleFilter

    @extend_schema(operation_id="schedule_list", responses=ScheduleSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Schedules, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        context = {**self.get_serializer_context(), "decided": next_run_source.decisions(page)}
        shown = ScheduleSerializer(page, many=True, context=context)
        return self.get_paginated_response(shown.data)

    @extend_schema(operation_id="schedule_create", responses={201: ScheduleSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Store a new schedule; it fires from now on."""
        schedule = schedules.create(self.parse(self.body), owner_id=self.user.pk, actor=self.actor)
        where = reverse("api:schedule", args=[schedule.id])
        return self.shown(schedule, status=201, Location=where)


class OneSchedule(ScheduleView):
    @extend_schema(operation_id="schedule_read")
    def get(self, _request: Request, schedule_id: UUID) -> Response:
        """One schedule; its ETag is its version."""
        return self.shown(self.find(id=schedule_id))

    @extend_schema(operation_id="schedule_replace", parameters=[IF_MATCH])
    def put(self, request: Request, schedule_id: UUID) -> Response:
        """Replace the definition; what is left out takes its default."""
        return self._update(request, self.find(id=schedule_id), words={})

    @extend_schema(operation_id="schedule_change", parameters=[IF_MATCH])
    def patch(self, request: Request, schedule_id: UUID) -> Response:
        """Change the fields that are given; an object among them is replaced as a whole."""
        schedule = self.find(id=schedule_id)
        words = definition.stored(schedule)
        return self._update(request, schedule, words=words)

    @extend_schema(operation_id="schedule_delete", parameters=[IF_MATCH], responses={204: None})
    def delete(self, request: Request, schedule_id: UUID) -> Response:
        """Remove it; its executions and its history stay readable."""
        schedule = self.find(id=schedule_id)
        preconditions.check(request, schedule)
        schedules.delete(schedule.id, actor=self.actor)
        return Response(status=204)

    def _update(self, request: Request, seen: Schedule, *, words: dict[str, Any]) -> Response:
        preconditions.check(request, seen)
        given = {name: value for name, value in self.body.items() if name not in READ_ONLY}
        parsed = self.parse({**words, **given})
        try:
            changed = schedules.update(seen.id, parsed, actor=self.actor, version=seen.version)
        except schedules.VersionChanged as error:
            if "If-Match" in request.headers:
                raise
            raise problem.conflict(error) from None
        return self.shown(changed)


class Stats(ScheduleView):
    serializer_class = StatsSerializer

    @extend_schema(operation_id="schedule_stats")
    def get(self, _request: Request, schedule_id: UUID) -> Response:
        """How its executions have gone."""
        return Response(StatsSerializer(stats.of(self.find(id=schedule_id))).data)


class Trigger(ScheduleView):
    meanings = {
        **ScheduleView.meanings,
        StillActive: problem.conflict,
        MissingValue: parameter_missing,
    }

    @extend_schema(
        operation_id="schedule_trigger",
        request=TriggerSerializer,
        responses={
            200: OpenApiResponse(TriggeredSerializer, "The same work is there already"),
            202: TriggeredSerializer,
        },
    )
    @idempotent.once
    def post(self, request: Request, schedule_id: UUID) -> Response:
        """Run it now, whatever its cadence; works on a disabled one."""
        schedule = self.find(id=schedule_id)
        given = TriggerSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data
        wanted = Wanted(
            said["parameters"],
            overlap=OverlapPolicy(said["overlap"]) if "overlap" in said else None,
            unique_key=said["unique_key"],
            correlation_id=request_ids.of(request),
        )
        triggered = by_hand.trigger(schedule, wanted, actor=self.actor)
        its_id = triggered.execution_id
        body = {**triggered.document(), "id": its_id}
        status = 200 if triggered.is_duplicate else 202
        return Response(body, status=status, headers={"Location": location(its_id)})
