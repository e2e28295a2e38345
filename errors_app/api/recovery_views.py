"""Recovery over HTTP: hold back all retries of executions for a while, and let them go on."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from errors_app import handling, overview
from errors_app.api.serializers import RecoveryStateSerializer
from errors_app.models import DeadLetter, ErrorRecord
from executions_app import ownership, permissions
from executions_app.api import idempotent, problem
from executions_app.api.base import ApiView


class RecoveryView(ApiView[ErrorRecord]):
    rows = ErrorRecord.objects.all()
    serializer_class = RecoveryStateSerializer
    meanings = {permissions.OperatorNeeded: problem.operator_needed}

    def state(self, request: Request) -> Response:
        letters: Any = ownership.visible_to(request.user, DeadLetter.objects.all())
        state = overview.read(self.get_queryset(), letters)
        return Response(RecoveryStateSerializer(state).data)


class StartRecovery(RecoveryView):
    @extend_schema(operation_id="recovery_start", request=None)
    @idempotent.once
    def post(self, request: Request) -> Response:
        """Let retries be dispatched again."""
        permissions.check_operator(self.user, "start recovery")
        handling.start_recovery(self.actor)
        return self.state(request)


class StopRecovery(RecoveryView):
    @extend_schema(operation_id="recovery_stop", request=None)
    @idempotent.once
    def post(self, request: Request) -> Response:
        """Hold back all retries; they stay pending, and first attempts go on."""
        permissions.check_operator(self.user, "stop recovery")
        handling.stop_recovery(self.actor)
        return self.state(request)
