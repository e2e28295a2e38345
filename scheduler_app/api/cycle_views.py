"""The cycle of an execution over HTTP, with what became of its advice: that is known up here."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.api.cycles import CycleSerializer, CycleView
from agents_app.cycle_story import Story
from scheduler_app.api.decision_serializers import DecisionSerializer
from scheduler_app.api.decision_views import names_of
from scheduler_app.models import ScheduleDecision


class DecidedCycleSerializer(CycleSerializer):
    """The AI process of one execution, with the decision about the next run that came of it."""

    decision = DecisionSerializer(allow_null=True, help_text="null: none was made, or not yet")

    def to_representation(self, instance: Story) -> dict[str, Any]:
        shown = CycleSerializer(instance).to_representation(instance)
        decision = decision_of(instance)
        if decision is None:
            return {**shown, "decision": None}
        names = {"names": names_of([decision])}
        return {**shown, "decision": DecisionSerializer(decision, context=names).data}


def decision_of(story: Story) -> ScheduleDecision | None:
    """What the scheduler made of the cycle's advice."""
    decision_id = story.cycle.decision_id
    if decision_id is None:
        return None
    return ScheduleDecision.objects.filter(id=decision_id).first()


class OneCycle(CycleView):
    serializer_class = DecidedCycleSerializer

    @extend_schema(operation_id="execution_cycle", responses=DecidedCycleSerializer)
    def get(self, _request: Request, execution_id: str) -> Response:
        """What the AI did in an execution: stages, plan, steps, calls, tier and decision."""
        return Response(DecidedCycleSerializer(self.story(execution_id)).data)
