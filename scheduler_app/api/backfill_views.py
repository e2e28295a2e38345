"""Backfills over HTTP: begin one (or see what it would run), look at it, pause, resume, abort."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.problem import FieldError, Problem
from executions_app.states import IllegalMove
from scheduler_app import backfills, permissions
from scheduler_app.api.foresight_serializers import (
    BackfillPlanSerializer,
    BackfillSerializer,
    NewBackfillSerializer,
)
from scheduler_app.api.foresight_views import OfSchedule
from scheduler_app.backfill_plan import InvalidBackfill
from scheduler_app.foresight import shapes as foresight_shapes
from scheduler_app.models import Backfill


def invalid_backfill(error: InvalidBackfill) -> Problem:
    return problem.invalid([FieldError(f"/{error.field}", "invalid", error.message)])


class BackfillView(ApiView[Backfill]):
    rows = Backfill.objects.all()
    serializer_class = BackfillSerializer
    meanings = {
        InvalidBackfill: invalid_backfill,
        IllegalMove: problem.conflict,
        permissions.OperatorNeeded: problem.operator_needed,
    }

    def shown(self, backfill: Backfill, *, status: int = 200, **headers: str) -> Response:
        return Response(_document(backfill), status=status, headers=headers)

    def one(self, schedule_id: UUID, backfill_id: UUID) -> Backfill:
        return self.find(id=backfill_id, schedule_id=schedule_id)


class Backfills(BackfillView):
    @extend_schema(operation_id="backfill_list", responses=BackfillSerializer(many=True))
    def get(self, _request: Request, schedule_id: UUID) -> Response:
        """The backfills of a schedule, the newest first."""
        schedule = OfSchedule.of(self, schedule_id)
        page = self.paginate_queryset(self.get_queryset().filter(schedule_id=schedule.id)) or []
        return self.get_paginated_response([_document(one) for one in page])

    @extend_schema(
        operation_id="backfill_create",
        request=NewBackfillSerializer,
        responses={
            200: BackfillPlanSerializer,
            202: BackfillSerializer,
        },
    )
    @idempotent.once
    def post(self, request: Request, schedule_id: UUID) -> Response:
        """Run its fires of a range again, a few at a time; with `dry_run` only say which."""
        schedule = OfSchedule.of(self, schedule_id)
        given = NewBackfillSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        words = given.validated_data
        if words["dry_run"]:
            plan = backfills.plan(schedule, first=words["from"], until=words["until"])
            return Response(BackfillPlanSerializer(plan).data)
        permissions.check_task_type(self.user, schedule.task_type)
        made = backfills.create(
            schedule,
            first=words["from"],
            until=words["until"],
            max_concurrent=words["max_concurrent"],
            actor=self.actor,
        )
        where = reverse("api:backfill", args=[schedule.id, made.id])
        return self.shown(made, status=202, Location=where)


class OneBackfill(BackfillView):
    @extend_schema(operation_id="backfill_read")
    def get(self, _request: Request, schedule_id: UUID, backfill_id: UUID) -> Response:
        """How far it has come."""
        return self.shown(self.one(schedule_id, backfill_id))


class _Moved(BackfillView):
    move: Callable[..., Backfill]

    def moved(self, schedule_id: UUID, backfill_id: UUID) -> Response:
        backfill = self.one(schedule_id, backfill_id)
        return self.shown(type(self).move(backfill.id, actor=self.actor))


class Pause(_Moved):
    move = staticmethod(backfills.pause)

    @extend_schema(operation_id="backfill_pause", request=None)
    @idempotent.once
    def post(self, _request: Request, schedule_id: UUID, backfill_id: UUID) -> Response:
        """Make no further executions until it is resumed."""
        return self.moved(schedule_id, backfill_id)


class Resume(_Moved):
    move = staticmethod(backfills.resume)

    @extend_schema(operation_id="backfill_resume", request=None)
    @idempotent.once
    def post(self, _request: Request, schedule_id: UUID, backfill_id: UUID) -> Response:
        """Go on where it was paused."""
        return self.moved(schedule_id, backfill_id)


class Abort(_Moved):
    move = staticmethod(backfills.abort)

    @extend_schema(operation_id="backfill_abort", request=None)
    @idempotent.once
    def post(self, _request: Request, schedule_id: UUID, backfill_id: UUID) -> Response:
        """End it: what has not started is cancelled, what runs goes on."""
        return self.moved(schedule_id, backfill_id)


def _document(backfill: Backfill) -> dict[str, Any]:
    active = backfills.active(backfill).count()
    return foresight_shapes.backfill(backfill, active=active)
