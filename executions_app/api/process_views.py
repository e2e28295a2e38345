"""Which processes carry executions on, over HTTP."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app import clock, presence
from executions_app.api.base import ApiView
from executions_app.api.filters import BoundedFilterSet, WordsFilter
from executions_app.api.serializers import words
from executions_app.models_presence import Process, ProcessKind
from executions_app.presence import Presence

EXAMPLE: Final = {
    "id": "0195f2c4-7d1e-7f0a-9a55-3d2a6d1c9b11",
    "kind": "worker",
    "name": "io@worker-1",
    "host": "worker-1",
    "pid": 4711,
    "queues": ["critical", "high", "low", "normal"],
    "version": "0.1.0",
    "status": "running",
    "started_at": "2026-12-01T08:00:00Z",
    "seen_at": "2026-12-01T09:00:00Z",
    "stopping_at": None,
    "stopped_at": None,
    "refused_claims": 3,
    "refused_writes": 0,
}


class ProcessFilter(BoundedFilterSet):
    """Every name by which processes can be chosen."""

    by_index = BoundedFilterSet.by_index | {"kind"}  # a day's processes are few

    kind = WordsFilter(ProcessKind)

    class Meta:
        model = Process
        fields: list[str] = []


@extend_schema_serializer(examples=[OpenApiExample("a worker", value=EXAMPLE, response_only=True)])
class ProcessSerializer(serializers.ModelSerializer[Process]):
    """One process, as it says itself; `gone` means silent without having said that it ends."""

    kind = serializers.ChoiceField(words(ProcessKind))
    status = serializers.ChoiceField(words(Presence), read_only=True)

    class Meta:
        model = Process
        fields = list(EXAMPLE)
        read_only_fields = fields

    def to_representation(self, instance: Process) -> dict[str, Any]:
        instance.status = presence.of(  # type: ignore[attr-defined]  # shown, not stored
            instance, now=self.context["now"]
        ).value
        return super().to_representation(instance)


class Processes(ApiView[Process]):
    """Processes are everybody's to see."""

    rows = Process.objects.all()
    serializer_class = ProcessSerializer
    filterset_class = ProcessFilter

    def get_queryset(self) -> Any:
        return self.rows.all()

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": clock.now()}

    @extend_schema(operation_id="process_list", responses=ProcessSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Beats, workers and web processes of the last day, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)
