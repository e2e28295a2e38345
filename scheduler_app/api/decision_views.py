"""Decisions of the AI over HTTP: what it proposes, and what people say to that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.filters import BoundedFilterSet, WordsFilter
from executions_app.states import DecisionStatus, IllegalMove, LostRace
from scheduler_app import adoption
from scheduler_app.api.decision_serializers import DecisionSerializer, RejectSerializer
from scheduler_app.api.foresight_views import OfSchedule
from scheduler_app.definition import InvalidDefinition
from scheduler_app.models import Schedule, ScheduleDecision


class DecisionFilter(BoundedFilterSet):
    """Every name by which decisions can be chosen."""

    by_index = BoundedFilterSet.by_index | {"schedule_id"}

    status = WordsFilter(DecisionStatus)
    schedule_id = filters.UUIDFilter()

    class Meta:
        model = ScheduleDecision
        fields: list[str] = []

    def is_by_index(self, name: str, value: Any) -> bool:
        is_of_open_ones = name == "status" and value == [DecisionStatus.PROPOSED]
        return is_of_open_ones or super().is_by_index(name, value)


class DecisionView(ApiView[ScheduleDecision]):
    rows = ScheduleDecision.objects.all()
    serializer_class = DecisionSerializer
    meanings = {
        IllegalMove: problem.conflict,
        LostRace: problem.conflict,
        adoption.NotAdopted: problem.conflict,
        adoption.NothingToRevert: problem.conflict,
        InvalidDefinition: problem.conflict,
    }

    def shown(self, decisions: Sequence[ScheduleDecision]) -> list[dict[str, Any]]:
        """As documents, with the names of their schedules in one query."""
        context = {**self.get_serializer_context(), "names": names_of(decisions)}
        return list(self.get_serializer(decisions, many=True, context=context).data)

    def listed(self) -> Response:
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.shown(page or []))


def names_of(decisions: Sequence[ScheduleDecision]) -> dict[UUID, str]:
    """The names of the schedules that these are about; of a deleted one there is none."""
    rows = Schedule.objects.filter(id__in={one.schedule_id for one in decisions})
    return dict(rows.values_list("id", "name"))


class Decisions(DecisionView):
    filterset_class = DecisionFilter

    @extend_schema(operation_id="decision_list", responses=DecisionSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """What AIs decided about next runs, the newest first; `status=proposed` waits for you."""
        return self.listed()


class OfOneSchedule(DecisionView):
    filterset_class = DecisionFilter

    def get_queryset(self) -> QuerySet[ScheduleDecision]:
        rows = super().get_queryset()
        fake = getattr(self, "swagger_fake_view", False)
        return rows if fake else rows.filter(schedule_id=self.kwargs["schedule_id"])

    @extend_schema(operation_id="schedule_decisions", responses=DecisionSerializer(many=True))
    def get(self, _request: Request, schedule_id: UUID) -> Response:
        """What AIs decided about the next runs of one schedule, the newest first."""
        OfSchedule.of(self, schedule_id)
        return self.listed()


class OneDecision(DecisionView):
    @extend_schema(operation_id="decision_read")
    def get(self, _request: Request, decision_id: UUID) -> Response:
        """One decision, with its reason and what limits made of it."""
        return Response(self.shown([self.find(id=decision_id)])[0])


class Approve(DecisionView):
    @extend_schema(operation_id="decision_approve", request=None)
    @idempotent.once
    def post(self, _request: Request, decision_id: UUID) -> Response:
        """Adopt a proposal as it is shown; 409 where it comes too late."""
        decision = adoption.approve(self.find(id=decision_id), actor=self.actor)
        return Response(self.shown([decision])[0])


class Reject(DecisionView):
    @extend_schema(operation_id="decision_reject", request=RejectSerializer)
    @idempotent.once
    def post(self, request: Request, decision_id: UUID) -> Response:
        """Refuse a proposal, with a reason; the schedule goes on by its rule."""
        decision = self.find(id=decision_id)
        given = RejectSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        reason = given.validated_data["reason"]
        return Response(self.shown([adoption.reject(decision, actor=self.actor, reason=reason)])[0])


class Revert(DecisionView):
    @extend_schema(operation_id="decision_revert", request=None)
    @idempotent.once
    def post(self, _request: Request, decision_id: UUID) -> Response:
        """Take back what an adopted decision brought about, as long as it is still to come."""
        decision = adoption.revert(self.find(id=decision_id), actor=self.actor)
        return Response(self.shown([decision])[0])
