"""The AI's part of an execution over HTTP: its plan, steps, calls of models, and how well it went.

`scheduler_app` shows a cycle, since what became of its advice is known there; the steps are
shown from here.
"""

from __future__ import annotations

from typing import Any, Final

from django.http import Http404
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app import cycle_story
from agents_app.cycle_story import Story
from agents_app.models_cycles import CallStatus, CycleStage, CycleStatus, Phase, Tier
from executions_app.api.serializers import AnyJSONField, ObjectField, words
from executions_app.api.views import ExecutionView
from executions_app.states import ApprovalStatus, StepStatus

STEP_EXAMPLE: Final = {
    "id": "0195f2c4-8000-7a0b-8d11-5a6b7c8d9e0f",
    "position": 0,
    "wave": 0,
    "name": "warm-eu",
    "status": "completed",
    "reason": "",
    "error_class": "",
    "attempt": 1,
    "is_critical": False,
    "depends_on": [],
    "queued_at": "2026-12-01T09:00:01.100Z",
    "started_at": "2026-12-01T09:00:01.120Z",
    "completed_at": "2026-12-01T09:00:01.410Z",
    "duration_ms": 290,
}


class StageSerializer(serializers.Serializer[Any]):
    """One stage of a cycle that has ended."""

    name = serializers.CharField(help_text="analyse, plan, execute, summarise or schedule")
    duration_ms = serializers.IntegerField()


class CycleStepSerializer(serializers.Serializer[Any]):
    """One call of an endpoint or a tool."""

    id = serializers.UUIDField()
    position = serializers.IntegerField(help_text="in the plan")
    wave = serializers.IntegerField(help_text="steps of one wave may run together")
    name = serializers.CharField()
    status = serializers.ChoiceField(words(StepStatus))
    reason = serializers.CharField(help_text="why it did not end well, or was skipped")
    error_class = serializers.CharField()
    attempt = serializers.IntegerField()
    is_critical = serializers.BooleanField()
    depends_on = serializers.ListField(child=serializers.UUIDField())
    queued_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    completed_at = serializers.DateTimeField(allow_null=True)
    duration_ms = serializers.IntegerField(allow_null=True)


@extend_schema_serializer(
    examples=[OpenApiExample("a step", {**STEP_EXAMPLE, "result": {"status": 200}})]
)
class StepWithResultSerializer(CycleStepSerializer):
    """One call of an endpoint or a tool, with what came of it."""

    result = AnyJSONField(allow_null=True)


class ModelCallSerializer(serializers.Serializer[Any]):
    """One call of a model, whether it succeeded or not."""

    id = serializers.UUIDField()
    phase = serializers.ChoiceField(words(Phase))
    provider = serializers.CharField()
    model = serializers.CharField()
    attempt = serializers.IntegerField(help_text="of asking for this answer, from 1")
    is_repair = serializers.BooleanField(help_text="it was shown an invalid answer of its own")
    status = serializers.ChoiceField(words(CallStatus))
    failure_class = serializers.CharField()
    failure = serializers.CharField()
    malformed_class = serializers.CharField()
    problems = serializers.ListField(child=AnyJSONField())
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    is_estimated = serializers.BooleanField(help_text="the provider reported no usage")
    cost_usd = serializers.DecimalField(max_digits=14, decimal_places=6)
    latency_ms = serializers.IntegerField()
    first_token_ms = serializers.IntegerField(allow_null=True)
    mode = serializers.CharField(help_text="json_schema, json_object or text")
    template = serializers.CharField()
    template_hash = serializers.CharField()
    created_at = serializers.DateTimeField()


class AgentReferenceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True, help_text="null: it was deleted")


class ApprovalReferenceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField(help_text="under /api/agents/approvals")
    status = serializers.ChoiceField(words(ApprovalStatus))
    expires_at = serializers.DateTimeField()


class CycleSerializer(serializers.Serializer[Story]):
    """The AI process of one execution: plan, execute, summarise, schedule."""

    id = serializers.UUIDField()
    execution_id = serializers.UUIDField()
    schedule_id = serializers.UUIDField(allow_null=True)
    agent = AgentReferenceSerializer(allow_null=True, help_text="null: none was free, or without")
    status = serializers.ChoiceField(words(CycleStatus))
    stage = serializers.ChoiceField(words(CycleStage))
    stages = StageSerializer(many=True)
    tier = serializers.ChoiceField(
        [one.value for one in Tier if one], allow_null=True, help_text="who made the plan"
    )
    tier_reason = serializers.CharField(help_text="why it is no better one")
    is_lower_tier = serializers.BooleanField(help_text="not planned by the model that should have")
    strategy = serializers.CharField(help_text="sequential, parallel or dependency")
    concurrency = serializers.IntegerField()
    wave = serializers.IntegerField()
    waves = serializers.IntegerField()
    analysis = ObjectField()
    plan = AnyJSONField(allow_null=True)
    approval = ApprovalReferenceSerializer(
        allow_null=True, help_text="what people were asked about the plan; null: nothing"
    )
    steps = CycleStepSerializer(many=True)
    summary = serializers.CharField()
    notes = serializers.ListField(
        child=AnyJSONField(), help_text="what was salvaged, replaced or left out"
    )
    calls = ModelCallSerializer(many=True)
    repairs = serializers.IntegerField(help_text="calls that asked a model to repair its answer")
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    cost_usd = serializers.DecimalField(max_digits=14, decimal_places=6)
    advice = AnyJSONField(allow_null=True)
    redriven = serializers.IntegerField(help_text="how often somebody took it up again")
    started_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(allow_null=True)

    def to_representation(self, instance: Story) -> dict[str, Any]:
        return dict(super().to_representation(cycle_story.document(instance)))  # type: ignore[arg-type]  # of names


class CycleView(ExecutionView):
    """The cycle of the caller's execution; 404 for one that has none."""

    serializer_class = CycleSerializer

    def story(self, execution_id: str) -> Story:
        found = cycle_story.of_execution(self.named(execution_id).id)
        if found is None:
            raise Http404
        return found


class Steps(ExecutionView):
    """The steps of any execution; one without an AI has none."""

    serializer_class = StepWithResultSerializer

    @extend_schema(operation_id="execution_steps", responses=StepWithResultSerializer(many=True))
    def get(self, _request: Request, execution_id: str) -> Response:
        """The calls that it is made of, in the order of the plan, with their results."""
        rows = cycle_story.steps(self.named(execution_id).id)
        shown = [{**cycle_story.step(one), "result": one.result} for one in rows]
        return Response(StepWithResultSerializer(shown, many=True).data)
