"""Providers of models over HTTP; they are the operators'."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.api.base import OperatorsView
from agents_app.api.filters import ProviderFilter
from agents_app.api.serializers import ProviderSerializer
from agents_app.models import Provider
from agents_app.objects import defaults, providers
from executions_app import permissions
from executions_app.api import idempotent


class ProviderView(OperatorsView[Provider]):
    rows = Provider.objects.select_related("credential", "fallback_provider")
    serializer_class = ProviderSerializer
    computed = frozenset(ProviderSerializer.Meta.read_only_fields)
    act = "see and change providers of models"


class Providers(ProviderView):
    filterset_class = ProviderFilter

    @extend_schema(operation_id="provider_list", responses=ProviderSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Providers, the newest first."""
        permissions.check_operator(self.user, self.act)
        defaults.ensure()
        return self.listed(request)

    @extend_schema(operation_id="provider_create", responses={201: ProviderSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Store a provider; agents may use its models."""
        permissions.check_operator(self.user, self.act)
        row = providers.create(self.words(), actor=self.actor)
        return self.answer(row, status=201, Location=reverse("api:provider", args=[row.id]))


class OneProvider(ProviderView):
    @extend_schema(operation_id="provider_read")
    def get(self, _request: Request, provider_id: UUID) -> Response:
        """One provider, without its key."""
        return self.answer(self.find(id=provider_id))

    @extend_schema(operation_id="provider_change")
    def patch(self, _request: Request, provider_id: UUID) -> Response:
        """Change the fields that are given; the list of models is replaced as a whole."""
        row = self.find(id=provider_id)
        return self.answer(providers.change(row.id, self.words(), actor=self.actor))

    @extend_schema(operation_id="provider_delete", responses={204: None})
    def delete(self, _request: Request, provider_id: UUID) -> Response:
        """Remove a provider that no agent uses."""
        providers.remove(self.find(id=provider_id).id, actor=self.actor)
        return Response(status=204)
