"""One execution over HTTP, with why it is where it is: the limits that hold it are known here."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app import clock
from executions_app.api.serializers import EXECUTION_EXAMPLE, ExecutionSerializer
from executions_app.api.views import ExecutionView
from executions_app.models import Execution
from scheduler_app.limiting import held_words

EXAMPLE = {
    **EXECUTION_EXAMPLE,
    "why": "Completed 2026-12-01T09:00:00Z (3 min ago) after 270 ms, in attempt 1 of 4.",
}


@extend_schema_serializer(
    examples=[OpenApiExample("a good run", value=EXAMPLE, response_only=True)]
)
class ExplainedExecutionSerializer(ExecutionSerializer):
    """An execution alone; a list has no room for the sentence, which asks for numbers."""

    why = serializers.CharField(
        help_text="why it is where it is, with the numbers of the limits that hold it back"
    )

    def to_representation(self, instance: Execution) -> dict[str, Any]:
        shown = super().to_representation(instance)
        return {**shown, "why": held_words.why(instance, now=clock.now())}


class OneExecution(ExecutionView):
    serializer_class = ExplainedExecutionSerializer

    @extend_schema(operation_id="execution_read")
    def get(self, _request: Request, execution_id: str) -> Response:
        """One execution with its result, and why it is where it is."""
        return self.answer(self.named(execution_id))
