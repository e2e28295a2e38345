"""Calls that plans may make, over HTTP: each owner registers their own."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.api.base import ObjectView
from agents_app.api.filters import EndpointFilter
from agents_app.api.serializers import EndpointSerializer
from agents_app.models import Endpoint
from agents_app.objects import endpoints
from executions_app.api import idempotent


class EndpointView(ObjectView[Endpoint]):
    rows = Endpoint.objects.all()
    serializer_class = EndpointSerializer
    computed = frozenset(EndpointSerializer.Meta.read_only_fields)


class Endpoints(EndpointView):
    filterset_class = EndpointFilter

    @extend_schema(operation_id="endpoint_list", responses=EndpointSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Registered endpoints, the newest first."""
        return self.listed(request)

    @extend_schema(operation_id="endpoint_create", responses={201: EndpointSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Register a call; schedules that name it may have it planned."""
        row = endpoints.create(self.words(), owner_id=self.user.pk, actor=self.actor)
        return self.answer(row, status=201, Location=reverse("api:endpoint", args=[row.id]))


class OneEndpoint(EndpointView):
    @extend_schema(operation_id="endpoint_read")
    def get(self, _request: Request, endpoint_id: UUID) -> Response:
        """One endpoint."""
        return self.answer(self.find(id=endpoint_id))

    @extend_schema(operation_id="endpoint_change")
    def patch(self, _request: Request, endpoint_id: UUID) -> Response:
        """Change the fields that are given; an object among them is replaced as a whole."""
        row = self.find(id=endpoint_id)
        return self.answer(endpoints.change(row.id, self.words(), actor=self.actor))

    @extend_schema(operation_id="endpoint_delete", responses={204: None})
    def delete(self, _request: Request, endpoint_id: UUID) -> Response:
        """Remove an endpoint that no schedule names."""
        endpoints.remove(self.find(id=endpoint_id).id, actor=self.actor)
        return Response(status=204)
