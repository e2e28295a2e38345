"""Executions over HTTP: list, read, follow and cancel them."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.http import Http404
from django.urls import reverse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from executions_app import lifecycle
from executions_app.api import idempotent
from executions_app.api.base import ApiView
from executions_app.api.filters import ExecutionFilter
from executions_app.api.serializers import ExecutionProgressSerializer, ExecutionSerializer
from executions_app.models import Execution
from executions_app.states import ExecutionStatus

MOST_DIGITS: Final = 18


def location(execution_id: UUID) -> str:
    """The path of an execution."""
    return reverse("api:execution", args=[str(execution_id)])


class ExecutionView(ApiView[Execution]):
    """One execution, by its id or its number."""

    rows = Execution.objects.all()
    serializer_class: type[BaseSerializer[Any]] = ExecutionSerializer

    def named(self, reference: str) -> Execution:
        """The caller's execution of an id or a number; raises Http404."""
        if reference.isascii() and reference.isdecimal() and len(reference) <= MOST_DIGITS:
            return self.find(number=int(reference))
        try:
            return self.find(id=UUID(reference))
        except ValueError:
            raise Http404 from None


class Executions(ExecutionView):
    filterset_class = ExecutionFilter

    @extend_schema(operation_id="execution_list", responses=ExecutionSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Executions, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class Progress(ExecutionView):
    serializer_class = ExecutionProgressSerializer

    @extend_schema(operation_id="execution_progress")
    def get(self, _request: Request, execution_id: str) -> Response:
        """How far an execution is."""
        return self.answer(self.named(execution_id))


class Cancel(ExecutionView):
    """Also `abort`, its other name."""

    @extend_schema(
        request=None,
        responses={
            200: OpenApiResponse(ExecutionSerializer, "It had not started and is cancelled"),
            202: OpenApiResponse(ExecutionSerializer, "It runs and was asked to stop"),
        },
    )
    @idempotent.once
    def post(self, _request: Request, execution_id: str) -> Response:
        """Cancel what has not started; ask what runs to stop."""
        execution = self.named(execution_id)
        status = lifecycle.cancel(execution, actor=self.actor)
        execution.refresh_from_db()
        if status is ExecutionStatus.CANCELLED:
            return self.answer(execution)
        return self.answer(execution, status=202, Location=location(execution.id))
