"""Executions over HTTP with what is known up here: the tier of a plan, the limits that hold one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app import tiers
from agents_app.models_cycles import Tier
from executions_app import clock
from executions_app.api import views
from executions_app.api.serializers import EXECUTION_EXAMPLE, ExecutionSerializer
from executions_app.api.views import ExecutionView
from executions_app.models import Execution
from scheduler_app import explained

TIERS = [one.value for one in Tier if one]
EXAMPLE = {
    **EXECUTION_EXAMPLE,
    "tier": None,
    "why": "Completed 2026-12-01T09:00:00Z (3 min ago) after 270 ms, in attempt 1 of 4.",
}


class TieredExecutionSerializer(ExecutionSerializer):
    """An execution; the context has the `tiers` of a list."""

    tier = serializers.ChoiceField(
        TIERS,
        allow_null=True,
        help_text="who made the plan of an AI's execution; below `model` it is no clean success",
    )

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        known = self.context.get("tiers")
        found = (tiers.of([instance]) if known is None else known).get(instance.id)
        tier = None if found is None else found.tier or None
        return {**super().to_representation(instance), "tier": tier}


@extend_schema_serializer(
    examples=[OpenApiExample("a good run", value=EXAMPLE, response_only=True)]
)
class ExplainedExecutionSerializer(TieredExecutionSerializer):
    """An execution alone; a list has no room for the sentence, which asks for numbers."""

    why = serializers.CharField(
        help_text="why it is where it is, with the numbers of the limits that hold it back"
    )

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return {**shown, "why": explained.why(instance, now=clock.now())}


class Executions(views.Executions):
    serializer_class = TieredExecutionSerializer

    @extend_schema(operation_id="execution_list", responses=TieredExecutionSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Executions, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        context = {**self.get_serializer_context(), "tiers": tiers.of(page)}
        shown = self.get_serializer(page, many=True, context=context)
        return self.get_paginated_response(shown.data)


class OneExecution(ExecutionView):
    serializer_class = ExplainedExecutionSerializer

    @extend_schema(operation_id="execution_read")
    def get(self, _request: Request, execution_id: str) -> Response:
        """One execution with its result, and why it is where it is."""
        return self.answer(self.named(execution_id))
