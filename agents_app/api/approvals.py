"""Plans that wait for a person, over HTTP: what they would do, and what people say to that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app import plan_story
from agents_app.cycle import approving
from agents_app.models import PlanApproval, Tier
from agents_app.plan_story import PlannedStep, PlanStory
from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.filters import BoundedFilterSet, WordsFilter
from executions_app.api.serializers import (
    ObjectField,
    ScheduleReferenceSerializer,
    StrictSerializer,
    words,
)
from executions_app.models import Execution
from executions_app.states import ApprovalStatus, IllegalMove, LostRace

MOST_REASON: Final = 2000
HASH_LENGTH: Final = 64
ASKED_FOR: Final = ["always", "unsafe"]
APPROVAL_EXAMPLE: Final = {
    "id": "0195f2c4-9d00-7a0b-8d11-5a6b7c8d9e0f",
    "schedule": {"id": "0195f2c0-11aa-7000-8000-1c2d3e4f5a6b", "name": "warm the caches"},
    "execution": {"id": "0195f2c4-7d1e-7f0a-9a55-3d2a6d1c9b11", "number": 7},
    "status": "waiting",
    "asked_for": "unsafe",
    "plan_hash": "9f" * 32,
    "risks": [{"position": 1, "name": "purge", "why": "POST changes something there"}],
    "expires_at": "2026-12-02T09:00:01Z",
    "decided_by": None,
    "decided_at": None,
    "reason": "",
    "created_at": "2026-12-01T09:00:01Z",
}


class ExecutionReferenceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    number = serializers.IntegerField(allow_null=True, help_text="null: it is not kept any more")


class RiskSerializer(serializers.Serializer[Any]):
    """A step that may change something."""

    position = serializers.IntegerField(help_text="in the plan, from 0")
    name = serializers.CharField()
    why = serializers.CharField()


@extend_schema_serializer(examples=[OpenApiExample("a plan that waits", value=APPROVAL_EXAMPLE)])
class ApprovalSerializer(serializers.Serializer[Any]):
    """A plan that a person is asked about; the context has the `executions` of a list."""

    id = serializers.UUIDField()
    schedule = ScheduleReferenceSerializer()
    execution = ExecutionReferenceSerializer()
    status = serializers.ChoiceField(words(ApprovalStatus))
    asked_for = serializers.ChoiceField(ASKED_FOR, help_text="what `approve_plan` said")
    plan_hash = serializers.CharField(help_text="to be given with an approval")
    risks = RiskSerializer(many=True, help_text="the steps that may change something")
    expires_at = serializers.DateTimeField(help_text="without an answer it is given up then")
    decided_by = serializers.IntegerField(allow_null=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(help_text="why it was not approved")
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        known: Mapping[UUID, Execution] = self.context["executions"]
        execution = known.get(instance.execution_id)
        shown = {
            name: getattr(instance, name)
            for name in APPROVAL_EXAMPLE
            if name not in {"schedule", "execution", "decided_by"}
        }
        shown["schedule"] = {"id": instance.schedule_id, "name": plan_story.name_of(execution)}
        shown["execution"] = {
            "id": instance.execution_id,
            "number": None if execution is None else execution.number,
        }
        shown["decided_by"] = instance.decided_by_id
        return {name: shown[name] for name in APPROVAL_EXAMPLE}


class PlannedStepSerializer(serializers.Serializer[Any]):
    """One call, as it would be made."""

    position = serializers.IntegerField()
    wave = serializers.IntegerField(help_text="steps of one wave may run together")
    name = serializers.CharField()
    call = serializers.CharField(help_text="method and URL as they are registered, or the tool")
    parameters = ObjectField()
    after = serializers.ListField(child=serializers.CharField())
    is_critical = serializers.BooleanField()
    risk = serializers.CharField(help_text="what it may change; empty: it only reads")
    reason = serializers.CharField(help_text="the planner's")
    change = serializers.ChoiceField(
        ["same", "changed", "new"],
        allow_null=True,
        help_text="beside the last plan that was carried out; null: there was none",
    )
    before = ObjectField(help_text="the parameters that it had there, if they differ")

    def to_representation(self, instance: PlannedStep) -> dict[str, Any]:
        compared = instance.compared
        return {
            **{name: getattr(instance.step, name) for name in ("position", "wave", "name")},
            "call": instance.call,
            "parameters": instance.parameters,
            "after": instance.after,
            "is_critical": instance.step.is_critical,
            "risk": instance.risk,
            "reason": instance.reason,
            "change": None if compared is None else compared.change,
            "before": {} if compared is None else dict(compared.before),
        }


class WholeApprovalSerializer(ApprovalSerializer):
    """The same with the plan itself."""

    tier = serializers.ChoiceField(
        [one.value for one in Tier if one], allow_null=True, help_text="who made the plan"
    )
    tier_reason = serializers.CharField()
    strategy = serializers.CharField()
    concurrency = serializers.IntegerField()
    plan_reason = serializers.CharField(help_text="the planner's")
    steps = PlannedStepSerializer(many=True)
    dropped = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="what the last plan that was carried out called besides; null: there was none",
    )

    def to_representation(self, instance: PlanStory) -> dict[str, Any]:
        execution = instance.execution
        known = {} if execution is None else {execution.id: execution}
        shown = ApprovalSerializer(instance.approval, context={"executions": known}).data
        return {
            **shown,
            "tier": instance.cycle.tier or None,
            "tier_reason": instance.cycle.tier_reason,
            "strategy": instance.cycle.strategy,
            "concurrency": instance.cycle.concurrency,
            "plan_reason": str(instance.plan.get("reason", "")),
            "steps": PlannedStepSerializer(instance.steps, many=True).data,
            "dropped": instance.dropped,
        }


class ApproveSerializer(StrictSerializer):
    """Which plan a person says yes to."""

    plan_hash = serializers.CharField(
        min_length=HASH_LENGTH, max_length=HASH_LENGTH, help_text="as the plan shows it"
    )


class RejectPlanSerializer(StrictSerializer):
    """Why a person says no."""

    reason = serializers.CharField(max_length=MOST_REASON, help_text="for whoever reads it later")


class ApprovalFilter(BoundedFilterSet):
    """Every name by which plans that people are asked about can be chosen."""

    by_index = BoundedFilterSet.by_index | {"schedule_id", "execution_id"}

    status = WordsFilter(ApprovalStatus)
    schedule_id = filters.UUIDFilter()
    execution_id = filters.UUIDFilter()

    class Meta:
        model = PlanApproval
        fields: list[str] = []

    def is_by_index(self, name: str, value: Any) -> bool:
        is_of_open_ones = name == "status" and value == [ApprovalStatus.WAITING]
        return is_of_open_ones or super().is_by_index(name, value)


class ApprovalView(ApiView[PlanApproval]):
    """Whoever owns the schedule decides; administrators may for everybody."""

    rows = PlanApproval.objects.all()
    serializer_class: Any = WholeApprovalSerializer
    meanings = {
        IllegalMove: problem.conflict,
        LostRace: problem.conflict,
        approving.TooLate: problem.conflict,
        approving.PlanChanged: problem.conflict,
    }

    def shown(self, approval: PlanApproval) -> Response:
        return Response(WholeApprovalSerializer(plan_story.of(approval)).data)


class Approvals(ApprovalView):
    serializer_class = ApprovalSerializer
    filterset_class = ApprovalFilter

    @extend_schema(operation_id="plan_approval_list", responses=ApprovalSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Plans that people are or were asked about, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset())) or []
        context = {**self.get_serializer_context(), "executions": plan_story.executions(page)}
        return self.get_paginated_response(
            ApprovalSerializer(page, many=True, context=context).data
        )


class OneApproval(ApprovalView):
    @extend_schema(operation_id="plan_approval_read")
    def get(self, _request: Request, approval_id: UUID) -> Response:
        """One plan with its steps, what they may change, and what is new in it."""
        return self.shown(self.find(id=approval_id))


class Approve(ApprovalView):
    @extend_schema(operation_id="plan_approve", request=ApproveSerializer)
    @idempotent.once
    def post(self, request: Request, approval_id: UUID) -> Response:
        """Let the plan of this hash be carried out; 409 for another one, or if it is too late."""
        approval = self.find(id=approval_id)
        given = ApproveSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        plan_hash = given.validated_data["plan_hash"]
        return self.shown(approving.approve(approval, plan_hash=plan_hash, actor=self.actor))


class Reject(ApprovalView):
    @extend_schema(operation_id="plan_reject", request=RejectPlanSerializer)
    @idempotent.once
    def post(self, request: Request, approval_id: UUID) -> Response:
        """Refuse a plan, with a reason: its execution fails and is not tried again."""
        approval = self.find(id=approval_id)
        given = RejectPlanSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        reason = given.validated_data["reason"]
        return self.shown(approving.reject(approval, reason=reason, actor=self.actor))
