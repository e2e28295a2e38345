"""Breakers over HTTP: how endpoints of executions are doing, and calls that may go out again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from errors_app.api.breaker_serializers import BreakerSerializer
from errors_app.api.serializers import NoteSerializer
from errors_app.api.views import note
from errors_app.breakers import figures, handling
from errors_app.models import Breaker
from executions_app import permissions
from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.filters import BoundedFilterSet, WordsFilter
from executions_app.states import BreakerStatus


class BreakerFilter(BoundedFilterSet):
    """Every name by which breakers can be chosen; `state` is that of the last transition."""

    by_index = BoundedFilterSet.by_index | {"key"}

    state = WordsFilter(BreakerStatus)
    key = filters.CharFilter()

    class Meta:
        model = Breaker
        fields: list[str] = []

    def is_by_index(self, name: str, value: Any) -> bool:
        """Of those that are not closed there are few, and an index of their own."""
        if name == "state":
            return BreakerStatus.CLOSED not in value
        return super().is_by_index(name, value)


class BreakerView(ApiView[Breaker]):
    """Endpoints are nobody's: operators see them all. Others meet theirs in their errors."""

    rows = Breaker.objects.all()
    serializer_class = BreakerSerializer
    ordering_fields = ("created_at", "key")
    meanings = {permissions.OperatorNeeded: problem.operator_needed}

    def get_queryset(self) -> QuerySet[Breaker]:
        if not getattr(self, "swagger_fake_view", False):
            permissions.check_operator(self.user, "see and reset breakers")
        return self.rows.all()

    def shown(self, row: Breaker) -> Response:
        return Response(BreakerSerializer(figures.of([row])[0]).data)


class Breakers(BreakerView):
    filterset_class = BreakerFilter

    @extend_schema(operation_id="breaker_list", responses=BreakerSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Endpoints that executions call, the newest first."""
        page: Any = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(BreakerSerializer(figures.of(page), many=True).data)


class OneBreaker(BreakerView):
    @extend_schema(operation_id="breaker_read", responses=BreakerSerializer)
    def get(self, _request: Request, breaker_id: UUID) -> Response:
        """One endpoint."""
        return self.shown(self.find(id=breaker_id))


class ResetBreaker(BreakerView):
    @extend_schema(
        operation_id="breaker_reset", request=NoteSerializer, responses=BreakerSerializer
    )
    @idempotent.once
    def post(self, request: Request, breaker_id: UUID) -> Response:
        """Close it and forget what it counted: calls go out again within a second."""
        breaker = self.find(id=breaker_id)
        return self.shown(handling.reset(breaker, actor=self.actor, note=note(request)))
