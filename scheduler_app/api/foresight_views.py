"""Fires over HTTP: what became of them and why, which are to come, what will go wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from executions_app import clock
from executions_app.api import names
from executions_app.api.base import ApiView
from executions_app.api.filters import BoundedFilterSet, WordsFilter
from executions_app.api.pagination import Cursor
from executions_app.api.problem import FieldError, invalid
from scheduler_app.api.filters import ScheduleFilter
from scheduler_app.api.foresight_serializers import (
    FireRecordSerializer,
    LintedSerializer,
    UpcomingQuerySerializer,
    UpcomingSerializer,
    WhyQuerySerializer,
    WhySerializer,
)
from scheduler_app.foresight import lint_rows, upcoming, why
from scheduler_app.foresight import shapes as foresight_shapes
from scheduler_app.models import FireRecord, Schedule
from scheduler_app.policies import FireReason


class FireFilter(BoundedFilterSet):
    """Every name by which the fires of a schedule can be chosen."""

    by_index = frozenset({"since", "until"})

    reason = WordsFilter(FireReason)
    since = filters.IsoDateTimeFilter(field_name="nominal_at", lookup_expr="gte")
    until = filters.IsoDateTimeFilter(field_name="nominal_at", lookup_expr="lt")

    class Meta:
        model = FireRecord
        fields: list[str] = []


class Fires(ApiView[FireRecord]):
    rows = FireRecord.objects.all()
    serializer_class = FireRecordSerializer
    filterset_class = FireFilter
    ordering_fields = ("nominal_at",)
    usual_ordering = "-nominal_at"

    def get_queryset(self) -> QuerySet[FireRecord]:
        if getattr(self, "swagger_fake_view", False):
            return self.rows.none()
        return self.rows.filter(schedule_id=self.kwargs["schedule_id"])

    @extend_schema(operation_id="schedule_fires", responses=FireRecordSerializer(many=True))
    def get(self, _request: Request, schedule_id: UUID) -> Response:
        """What became of its fires, the latest first."""
        OfSchedule.of(self, schedule_id)
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class OfSchedule(ApiView[Schedule]):
    rows = Schedule.objects.select_related("calendar")

    @classmethod
    def of(cls, view: ApiView[Any], schedule_id: UUID) -> Schedule:
        """The schedule, if the caller of `view` may see it; else 404."""
        mine = cls(request=view.request, kwargs=view.kwargs, args=view.args)
        return mine.find(id=schedule_id)


class Why(OfSchedule):
    serializer_class = WhySerializer
    query_names = frozenset(WhyQuerySerializer().fields)

    @extend_schema(operation_id="schedule_why", parameters=[WhyQuerySerializer])
    def get(self, request: Request, schedule_id: UUID) -> Response:
        """Why the fire at an instant did or did not run, in one sentence."""
        asked = WhyQuerySerializer(data=names.snake_query(request.query_params))
        asked.is_valid(raise_exception=True)
        schedule = self.find(id=schedule_id)
        answer = why.explain(schedule, at=asked.validated_data.get("at"), now=clock.now())
        return Response(foresight_shapes.why(answer))


class Upcoming(ApiView[Schedule]):
    rows = Schedule.objects.all()
    serializer_class = UpcomingSerializer
    query_names = frozenset(UpcomingQuerySerializer().fields)

    @extend_schema(operation_id="scheduler_upcoming", parameters=[UpcomingQuerySerializer])
    def get(self, request: Request) -> Response:
        """The fires to come of all schedules, and the minutes in which many come together."""
        asked = UpcomingQuerySerializer(data=names.snake_query(request.query_params))
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        now = clock.now()
        look = upcoming.read(
            self.user,
            now=now,
            until=now + timedelta(hours=given["hours"]),
            limit=given["limit"],
            after=_place(given.get("cursor")),
        )
        link = None
        if look.next is not None:
            url = request.build_absolute_uri()
            link = replace_query_param(url, "cursor", str(Cursor(*look.next)))
        return Response({"next": link, **foresight_shapes.upcoming(look)})


class Lint(ApiView[Schedule]):
    rows = Schedule.objects.select_related("calendar")
    serializer_class = LintedSerializer
    filterset_class = ScheduleFilter

    @extend_schema(operation_id="scheduler_lint", responses=LintedSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """What will go wrong with the schedules of this page; those without findings are left out.

        A page may so be shorter than asked for, even empty, and still have a `next`.
        """
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        linted = [one for one in lint_rows.read(page, now=clock.now()) if one.findings]
        return self.get_paginated_response(self.get_serializer(linted, many=True).data)


def _place(cursor: str | None) -> upcoming.Place | None:
    if not cursor:
        return None
    try:
        read = Cursor.parse(cursor)
        return upcoming.instant(read.value), read.id
    except (ValueError, TypeError, AttributeError, RecursionError):
        message = "it is none that this list gave; begin without one"
        raise invalid([FieldError("/cursor", "invalid", message)]) from None
