"""Incidents over HTTP: which executions fail alike, since when, and what people decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from errors_app.api.incident_serializers import IncidentSerializer
from errors_app.api.serializers import NoteSerializer
from errors_app.api.views import note
from errors_app.incidents import deciding, trends
from errors_app.models import Incident
from errors_app.taxonomy import ErrorClass, Severity
from executions_app import clock
from executions_app.api import idempotent
from executions_app.api.base import ApiView
from executions_app.api.filters import WordsFilter
from executions_app.states import IncidentStatus


class IncidentFilter(filters.FilterSet):  # type: ignore[misc]  # untyped library
    """Every name by which incidents can be chosen."""

    status = WordsFilter(IncidentStatus)
    severity = WordsFilter(Severity)
    error_class = WordsFilter(ErrorClass)
    schedule_id = filters.UUIDFilter()
    fingerprint = filters.CharFilter()
    last_seen_after = filters.IsoDateTimeFilter(field_name="last_seen_at", lookup_expr="gte")
    last_seen_before = filters.IsoDateTimeFilter(field_name="last_seen_at", lookup_expr="lt")

    class Meta:
        model = Incident
        fields: list[str] = []


class IncidentView(ApiView[Incident]):
    rows = Incident.objects.all()
    serializer_class = IncidentSerializer

    def shown(self, incidents: Sequence[Incident]) -> list[dict[str, Any]]:
        """As documents, with the trends of all of them in one statement."""
        known = trends.of([one.id for one in incidents], now=clock.now())
        context = {**self.get_serializer_context(), "trends": known}
        return list(IncidentSerializer(incidents, many=True, context=context).data)


class Incidents(IncidentView):
    filterset_class = IncidentFilter
    ordering_fields = ("last_seen_at", "first_seen_at", "count", "created_at")
    usual_ordering = "-last_seen_at"

    @extend_schema(operation_id="incident_list", responses=IncidentSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Incidents, those that were seen last first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.shown(page or []))


class OneIncident(IncidentView):
    @extend_schema(operation_id="incident_read")
    def get(self, _request: Request, incident_id: UUID) -> Response:
        """One incident; its errors are those of `/api/errors/errors?incident=`."""
        (document,) = self.shown([self.find(id=incident_id)])
        return Response(document)


class DecideIncident(IncidentView):
    """Acknowledge, ignore, resolve or reopen: `decision` is set below."""

    decision: ClassVar[Any] = None

    @extend_schema(request=NoteSerializer)
    @idempotent.once
    def post(self, request: Request, incident_id: UUID) -> Response:
        """Decide about an incident; who did it, when and why is kept."""
        incident = self.find(id=incident_id)
        decide = type(self).decision
        (document,) = self.shown([decide(incident, actor=self.actor, note=note(request))])
        return Response(document)


class AcknowledgeIncident(DecideIncident):
    decision = staticmethod(deciding.acknowledge)


class IgnoreIncident(DecideIncident):
    decision = staticmethod(deciding.ignore)


class ResolveIncident(DecideIncident):
    decision = staticmethod(deciding.resolve)


class ReopenIncident(DecideIncident):
    decision = staticmethod(deciding.reopen)
