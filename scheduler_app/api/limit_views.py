"""When not and how much at most, over HTTP: calendars and limits."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.problem import FieldError
from scheduler_app import calendars
from scheduler_app.api import preconditions, views
from scheduler_app.api.filters import CalendarFilter, LimitFilter
from scheduler_app.api.limit_serializers import CalendarSerializer, LimitSerializer
from scheduler_app.limiting import limits
from scheduler_app.models import BusinessCalendar, Limit


class CalendarView(ApiView[BusinessCalendar]):
    rows = BusinessCalendar.objects.all()
    serializer_class = CalendarSerializer
    ordering_fields = ("created_at", "name")
    meanings = {**views.ScheduleView.meanings, calendars.InUse: problem.conflict}

    def words(self) -> dict[str, Any]:
        """What the caller says, without what only the system does."""
        computed = CalendarSerializer.Meta.read_only_fields
        return {name: value for name, value in self.body.items() if name not in computed}

    def shown(self, row: BusinessCalendar, *, status: int = 200, **headers: str) -> Response:
        return self.answer(row, status=status, ETag=preconditions.etag(row), **headers)


class Calendars(CalendarView):
    filterset_class = CalendarFilter

    @extend_schema(operation_id="calendar_list", responses=CalendarSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Business calendars, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(operation_id="calendar_create", responses={201: CalendarSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Store a new calendar, for schedules to follow."""
        parsed = calendars.parse(self.words())
        calendar = calendars.create(parsed, owner_id=self.user.pk, actor=self.actor)
        where = reverse("api:calendar", args=[calendar.id])
        return self.shown(calendar, status=201, Location=where)


class OneCalendar(CalendarView):
    @extend_schema(operation_id="calendar_read")
    def get(self, _request: Request, calendar_id: UUID) -> Response:
        """One calendar; its ETag is its version."""
        return self.shown(self.find(id=calendar_id))

    @extend_schema(operation_id="calendar_replace", parameters=[views.IF_MATCH])
    def put(self, request: Request, calendar_id: UUID) -> Response:
        """Replace the calendar; its schedules follow it at their next fire."""
        return self._update(request, self.find(id=calendar_id), words={})

    @extend_schema(operation_id="calendar_change", parameters=[views.IF_MATCH])
    def patch(self, request: Request, calendar_id: UUID) -> Response:
        """Change the fields that are given; a list among them is replaced as a whole."""
        calendar = self.find(id=calendar_id)
        return self._update(request, calendar, words=calendars.stored(calendar))

    @extend_schema(
        operation_id="calendar_delete", parameters=[views.IF_MATCH], responses={204: None}
    )
    def delete(self, request: Request, calendar_id: UUID) -> Response:
        """Remove a calendar that no schedule follows."""
        calendar = self.find(id=calendar_id)
        preconditions.check(request, calendar)
        calendars.delete(calendar.id, actor=self.actor)
        return Response(status=204)

    def _update(
        self, request: Request, seen: BusinessCalendar, *, words: dict[str, Any]
    ) -> Response:
        preconditions.check(request, seen)
        parsed = calendars.parse({**words, **self.words()})
        changed = calendars.update(seen.id, parsed, actor=self.actor, version=seen.version)
        return self.shown(changed)


class LimitView(ApiView[Limit]):
    """Limits are everybody's to read and the administrators' to change."""

    rows = Limit.objects.all()
    serializer_class = LimitSerializer
    ordering_fields = ("created_at", "key")
    meanings = views.ScheduleView.meanings

    def get_queryset(self) -> Any:
        return self.rows.all()


class Limits(LimitView):
    filterset_class = LimitFilter

    @extend_schema(operation_id="limit_list", responses=LimitSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Limits, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(operation_id="limit_set", responses={200: LimitSerializer, 201: LimitSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Set the limit of a key, or change it; it holds from the next dispatch on."""
        limits.check_admin(self.user)
        computed = LimitSerializer.Meta.read_only_fields
        words = {name: value for name, value in self.body.items() if name not in computed}
        limit, is_new = limits.put(limits.parse(words), actor=self.actor)
        where = reverse("api:limit", args=[limit.id])
        return self.answer(limit, status=201 if is_new else 200, Location=where)


class OneLimit(LimitView):
    @extend_schema(operation_id="limit_read")
    def get(self, _request: Request, limit_id: UUID) -> Response:
        """One limit."""
        return self.answer(self.find(id=limit_id))

    @extend_schema(operation_id="limit_change")
    def patch(self, _request: Request, limit_id: UUID) -> Response:
        """Change the fields that are given; the key stays."""
        limits.check_admin(self.user)
        limit = self.find(id=limit_id)
        computed = LimitSerializer.Meta.read_only_fields
        given = {name: value for name, value in self.body.items() if name not in computed}
        if given.get("key", limit.key) != limit.key:
            detail = "the key of a limit stays; set another limit and remove this one"
            raise problem.invalid([FieldError("/key", "fixed", detail)])
        try:
            return self.answer(limits.change(limit.id, given, actor=self.actor))
        except limits.Unknown:
            raise Http404 from None

    @extend_schema(operation_id="limit_remove", responses={204: None})
    def delete(self, _request: Request, limit_id: UUID) -> Response:
        """Lift it; what it held starts at the next dispatch."""
        limits.check_admin(self.user)
        try:
            limits.remove(self.find(id=limit_id).key, actor=self.actor)
        except limits.Unknown:
            raise Http404 from None
        return Response(status=204)
