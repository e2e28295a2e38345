"""Secrets that calls of a cycle carry, over HTTP: they go in and never come out."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.api.base import ObjectView
from agents_app.api.filters import CredentialFilter
from agents_app.api.serializers import CredentialSerializer
from agents_app.models import Credential
from agents_app.objects import credentials
from agents_app.objects.drafts import Invalid
from executions_app.api import idempotent


class CredentialView(ObjectView[Credential]):
    """A caller sees their own and the shared ones, which only operators change."""

    rows = Credential.objects.all()
    serializer_class = CredentialSerializer
    computed = frozenset(CredentialSerializer.Meta.read_only_fields)

    def get_queryset(self) -> QuerySet[Credential]:
        if self.is_described:
            return self.rows.none()
        is_theirs = Q(owner_id=self.user.pk) | Q(owner__isnull=True)
        return self.rows.all() if self.user.is_superuser else self.rows.filter(is_theirs)

    def words(self) -> dict[str, Any]:
        return {name: value for name, value in super().words().items() if name != "shared"}

    def is_shared(self, *, usual: bool) -> bool:
        """Whether the caller says that it is to be shared; raises Invalid."""
        shared = self.body.get("shared", usual)
        if not isinstance(shared, bool):
            raise Invalid.field("shared", "is true or false")
        return shared


class Credentials(CredentialView):
    filterset_class = CredentialFilter

    @extend_schema(operation_id="credential_list", responses=CredentialSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Credentials without their values, the newest first."""
        return self.listed(request)

    @extend_schema(operation_id="credential_create", responses={201: CredentialSerializer})
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Store a secret; it is shown to nobody again."""
        owner_id = None if self.is_shared(usual=False) else self.user.pk
        credentials.check_owner(self.user, owner_id=owner_id)
        row = credentials.create(self.words(), owner_id=owner_id, actor=self.actor)
        return self.answer(row, status=201, Location=reverse("api:credential", args=[row.id]))


class OneCredential(CredentialView):
    @extend_schema(operation_id="credential_read")
    def get(self, _request: Request, credential_id: UUID) -> Response:
        """One credential, without its value."""
        return self.answer(self.find(id=credential_id))

    @extend_schema(operation_id="credential_change")
    def patch(self, _request: Request, credential_id: UUID) -> Response:
        """Change the fields that are given; without `value` that stays."""
        row = self._own(credential_id)
        if self.is_shared(usual=row.owner_id is None) is not (row.owner_id is None):
            raise Invalid.field("shared", "it stays as it is; make another one", code="fixed")
        return self.answer(credentials.change(row.id, self.words(), actor=self.actor))

    @extend_schema(operation_id="credential_delete", responses={204: None})
    def delete(self, _request: Request, credential_id: UUID) -> Response:
        """Forget a secret that nothing uses."""
        credentials.remove(self._own(credential_id).id, actor=self.actor)
        return Response(status=204)

    def _own(self, credential_id: UUID) -> Credential:
        row = self.find(id=credential_id)
        credentials.check_owner(self.user, owner_id=row.owner_id)
        return row
