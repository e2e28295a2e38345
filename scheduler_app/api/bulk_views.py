"""Bulk operations on executions and other rows over HTTP: begin one, look at it, abort it."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from errors_app.api.serializers import NoteSerializer
from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.problem import FieldError, Problem
from executions_app.states import IllegalMove
from scheduler_app.api.bulk_serializers import (
    BulkFilter,
    BulkOperationSerializer,
    BulkPlanSerializer,
    NewBulkSerializer,
)
from scheduler_app.bulk import operations
from scheduler_app.bulk.choosing import InvalidChoice
from scheduler_app.models import BulkOperation


def invalid_choice(error: InvalidChoice) -> Problem:
    return problem.invalid([FieldError(problem.pointer(*error.path), "invalid", error.message)])


class BulkView(ApiView[BulkOperation]):
    rows = BulkOperation.objects.all()
    serializer_class = BulkOperationSerializer
    meanings = {InvalidChoice: invalid_choice, IllegalMove: problem.conflict}


class BulkOperations(BulkView):
    filterset_class = BulkFilter

    @extend_schema(operation_id="bulk_list", responses=BulkOperationSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Bulk operations, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        operation_id="bulk_create",
        request=NewBulkSerializer,
        responses={200: BulkPlanSerializer, 202: BulkOperationSerializer},
    )
    @idempotent.once
    def post(self, request: Request) -> Response:
        """Apply a verb to your rows of a filter; with `dry_run` only say to which."""
        given = NewBulkSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = given.wanted()
        if given.validated_data["dry_run"]:
            plan = operations.plan(wanted, user=self.user)
            return Response(BulkPlanSerializer(plan).data)
        operation = operations.create(wanted, user=self.user)
        where = reverse("api:bulk_operation", args=[operation.id])
        return self.answer(operation, status=202, Location=where)


class OneBulkOperation(BulkView):
    @extend_schema(operation_id="bulk_read")
    def get(self, _request: Request, operation_id: UUID) -> Response:
        """How far it is, and which rows it was refused."""
        return self.answer(self.find(id=operation_id))


class AbortBulkOperation(BulkView):
    @extend_schema(operation_id="bulk_abort", request=NoteSerializer)
    @idempotent.once
    def post(self, request: Request, operation_id: UUID) -> Response:
        """Leave the rest as it is; what is done stays done."""
        operation = self.find(id=operation_id)
        given = NoteSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        said = given.validated_data["note"]
        return self.answer(operations.abort(operation.id, actor=self.actor, note=said))
