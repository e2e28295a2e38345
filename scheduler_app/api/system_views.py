"""The system over HTTP: start, stop, status, and the leases of what runs."""

from __future__ import annotations

import random
from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from errors_app import rescuer
from executions_app import clock
from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView
from executions_app.api.serializers import LeaseSerializer
from executions_app.api.views import ExecutionView
from executions_app.models import Execution
from executions_app.states import ExecutionStatus
from scheduler_app import permissions, status, system
from scheduler_app.api.status_serializers import SchedulerStatusSerializer
from scheduler_app.models import Schedule

MOST_NOTE: Final = 2000


class SystemView(ApiView[Schedule]):
    rows = Schedule.objects.all()
    serializer_class = SchedulerStatusSerializer
    meanings = {permissions.OperatorNeeded: problem.operator_needed}

    def status(self) -> Response:
        return Response(SchedulerStatusSerializer(status.read(now=clock.now())).data)


class Status(SystemView):
    @extend_schema(operation_id="scheduler_status")
    def get(self, _request: Request) -> Response:
        """State, last tick, what is due, queued and running."""
        return self.status()


class Start(SystemView):
    @extend_schema(operation_id="scheduler_start", request=None)
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Resume dispatch; what came due meanwhile follows its catch-up policy."""
        permissions.check_operator(self.user, "start the scheduler")
        system.start(self.actor)
        return self.status()


class Stop(SystemView):
    @extend_schema(operation_id="scheduler_stop", request=None)
    @idempotent.once
    def post(self, _request: Request) -> Response:
        """Halt dispatch; running work goes on."""
        permissions.check_operator(self.user, "stop the scheduler")
        system.stop(self.actor)
        return self.status()


class LeaseView(ExecutionView):
    """Leases of running executions, presented as locks; the key is the execution."""

    rows = Execution.objects.filter(status=ExecutionStatus.RUNNING)
    serializer_class = LeaseSerializer
    meanings = {permissions.OperatorNeeded: problem.operator_needed}

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": clock.now()}


class Locks(LeaseView):
    @extend_schema(operation_id="lock_list", responses=LeaseSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """The leases that workers hold."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class OneLock(LeaseView):
    query_names = frozenset({"note"})

    @extend_schema(operation_id="lock_read")
    def get(self, _request: Request, execution_id: str) -> Response:
        """The lease of one running execution; 404 while nobody holds one."""
        return Response(self.get_serializer(self.named(execution_id)).data)

    @extend_schema(
        operation_id="lock_release",
        parameters=[OpenApiParameter("note", str, description="why, for the audit log")],
        responses={204: None},
    )
    def delete(self, request: Request, execution_id: str) -> Response:
        """End a lease at once: its attempt counts as lost, and recovery decides what follows."""
        permissions.check_operator(self.user, "release leases")
        execution = self.named(execution_id)
        note = request.query_params.get("note", "").replace("\x00", "")[:MOST_NOTE]
        rescuer.release(execution.id, actor=self.actor, rng=random.SystemRandom(), note=note)
        return Response(status=204)
