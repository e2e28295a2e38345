"""What people tell an agent for its next cycles, over HTTP: messages and facts."""

from __future__ import annotations

from typing import Any, ClassVar, Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.api.base import ObjectView
from agents_app.memory import MOST_TEXT
from agents_app.models import Agent, Memory
from agents_app.models_memory import MemoryKind
from agents_app.objects import remarks
from executions_app.api import idempotent
from executions_app.api.filters import BoundedFilterSet

EXAMPLE: Final = {
    "text": "Prefer the cheaper endpoint at night.",
    "schedule_id": "0198f0c4-7a3e-7cc0-9f5e-3d1f6a7b8c9d",
}


@extend_schema_serializer(
    examples=[OpenApiExample("of one schedule", value=EXAMPLE, request_only=True)]
)
class RemarkSerializer(serializers.ModelSerializer[Memory]):
    """One thing that an agent is told, or has noted itself (then it has no author)."""

    text = serializers.CharField(max_length=MOST_TEXT)
    schedule_id = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="a schedule that an AI plans, in requests also by its name; null: all of its "
        "owner's",
    )
    shared = serializers.BooleanField(
        required=False, help_text="of everybody's work; only operators say such"
    )
    owner = serializers.IntegerField(source="owner_id", read_only=True, allow_null=True)

    class Meta:
        model = Memory
        fields = [
            "id", "agent_id", "text", "schedule_id", "shared", "owner", "author", "execution_id",
            "created_at",
        ]  # fmt: skip
        read_only_fields = ["id", "agent_id", "owner", "author", "execution_id", "created_at"]

    def to_representation(self, instance: Memory) -> dict[str, Any]:
        instance.shared = instance.owner_id is None  # type: ignore[attr-defined]  # shown only
        return super().to_representation(instance)


class RemarkFilter(BoundedFilterSet):
    """Every name by which messages and facts can be chosen."""

    schedule_id = filters.UUIDFilter()
    shared = filters.BooleanFilter(field_name="owner_id", lookup_expr="isnull")

    class Meta:
        model = Memory
        fields: list[str] = []


class RemarkView(ObjectView[Memory]):
    """A caller sees what concerns their own work or everybody's."""

    rows = Memory.objects.all()
    serializer_class = RemarkSerializer
    computed = frozenset(RemarkSerializer.Meta.read_only_fields)
    ordering_fields = ("created_at",)
    kind: ClassVar[MemoryKind]

    def get_queryset(self) -> QuerySet[Memory]:
        if self.is_described:
            return self.rows.none()
        return remarks.seen_by(self.user).filter(kind=self.kind.value)

    def list_of(self, agent_id: UUID) -> Response:
        """A page of one agent's; raises Http404 where there is no such agent."""
        if not Agent.objects.filter(id=agent_id).exists():
            raise Http404
        rows = self.filter_queryset(self.get_queryset().filter(agent_id=agent_id))
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def left(self, agent_id: UUID) -> Response:
        row = remarks.leave(agent_id, self.words(), kind=self.kind, user=self.user)
        return self.answer(row, status=201)

    def removed(self, agent_id: UUID, remark_id: UUID) -> Response:
        remarks.remove(self.find(id=remark_id, agent_id=agent_id).id, user=self.user)
        return Response(status=204)


class Messages(RemarkView):
    filterset_class = RemarkFilter
    kind = MemoryKind.MESSAGE

    @extend_schema(operation_id="agent_messages", responses=RemarkSerializer(many=True))
    def get(self, _request: Request, agent_id: UUID) -> Response:
        """Messages to an agent about the caller's work or everybody's, the newest first."""
        return self.list_of(agent_id)

    @extend_schema(operation_id="agent_message_create", responses={201: RemarkSerializer})
    @idempotent.once
    def post(self, _request: Request, agent_id: UUID) -> Response:
        """Leave a message: a wish for how it plans, or news. Told from the next cycle on."""
        return self.left(agent_id)


class OneMessage(RemarkView):
    kind = MemoryKind.MESSAGE

    @extend_schema(operation_id="agent_message_delete", responses={204: None})
    def delete(self, _request: Request, agent_id: UUID, remark_id: UUID) -> Response:
        """Take a message back; cycles that began before go on with it."""
        return self.removed(agent_id, remark_id)


class Facts(RemarkView):
    filterset_class = RemarkFilter
    kind = MemoryKind.FACT

    @extend_schema(operation_id="agent_facts", responses=RemarkSerializer(many=True))
    def get(self, _request: Request, agent_id: UUID) -> Response:
        """What an agent knows of the caller's work: told by people, or noted by itself."""
        return self.list_of(agent_id)

    @extend_schema(operation_id="agent_fact_create", responses={201: RemarkSerializer})
    @idempotent.once
    def post(self, _request: Request, agent_id: UUID) -> Response:
        """Tell a fact that lasts. It is data to a model: nothing may be called because of it."""
        return self.left(agent_id)


class OneFact(RemarkView):
    kind = MemoryKind.FACT

    @extend_schema(operation_id="agent_fact_delete", responses={204: None})
    def delete(self, _request: Request, agent_id: UUID, remark_id: UUID) -> Response:
        """Let a fact be forgotten, also one that the agent noted."""
        return self.removed(agent_id, remark_id)
