"""Webhooks over HTTP: deliveries that start executions, and the secrets they are signed with."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app.api import problem
from executions_app.api.base import ApiView
from executions_app.api.problem import Problem
from executions_app.api.serializers import EXECUTION_STATUSES, StrictSerializer
from executions_app.api.views import location
from executions_app.models import Execution
from scheduler_app.api.views import ScheduleView
from scheduler_app.models import Schedule
from scheduler_app.sources import payloads, signatures, webhook_secrets, webhooks

MOST_OVERLAP_MS: Final = int(webhook_secrets.LONGEST_OVERLAP.total_seconds() * 1000)


class DeliveredSerializer(serializers.Serializer[Any]):
    """What became of a delivery."""

    matched = serializers.BooleanField(help_text="false: its filter does not admit the payload")
    execution_id = serializers.UUIDField(allow_null=True)
    id = serializers.UUIDField(allow_null=True, help_text="the same")
    number = serializers.IntegerField(allow_null=True)
    status = serializers.ChoiceField(EXECUTION_STATUSES, allow_null=True)
    skipped = serializers.CharField(help_text="why a matching delivery started nothing, or empty")


class RotateSerializer(StrictSerializer):
    """How long the secrets of before go on being accepted."""

    overlap_ms = serializers.IntegerField(
        required=False, default=0, min_value=0, max_value=MOST_OVERLAP_MS
    )


class SecretSerializer(serializers.Serializer[Any]):
    """A secret, shown this once."""

    secret = serializers.CharField()
    url = serializers.CharField(help_text="where deliveries go")


def unproven(error: Exception) -> Problem:
    return Problem(401, "not_signed", str(error))


def too_many(error: webhooks.TooMany) -> Problem:
    return Problem(429, "too_many_deliveries", str(error), wait=error.wait)


def unusable(error: Exception) -> Problem:
    return Problem(400, "unusable_payload", str(error))


def not_accepting(error: Exception) -> Problem:
    return Problem(409, "not_accepting", str(error))


class Webhook(ApiView[Schedule]):
    """Open to everybody: the signature is the only proof, and one schedule all it opens."""

    rows = Schedule.objects.all()
    serializer_class = DeliveredSerializer
    authentication_classes = []
    permission_classes = [AllowAny]
    query_names = None  # senders add what they like to the address that they were given
    meanings = {
        signatures.Unproven: unproven,
        webhooks.TooMany: too_many,
        payloads.UnusablePayload: unusable,
        webhooks.NotAccepting: not_accepting,
    }

    @extend_schema(
        operation_id="webhook_deliver",
        auth=[],
        parameters=[
            OpenApiParameter(signatures.ID, str, OpenApiParameter.HEADER),
            OpenApiParameter(signatures.TIMESTAMP, str, OpenApiParameter.HEADER),
            OpenApiParameter(signatures.SIGNATURE, str, OpenApiParameter.HEADER),
        ],
        request={"application/json": {"type": "object"}},
        responses={202: DeliveredSerializer},
    )
    def post(self, request: Request, trigger_id: str) -> Response:
        """Deliver an event, signed as Standard Webhooks say or with a JWT of its own."""
        body = _body(request)
        headers = {name.lower(): value for name, value in request.headers.items()}
        receipt = webhooks.receive(_uuid(trigger_id), headers, body)
        found = None
        if receipt.execution_id is not None:
            known = Execution.objects.only("number", "status")
            found = known.filter(id=receipt.execution_id).first()  # one of long ago may be gone
        answer = {
            "matched": receipt.is_matched,
            "execution_id": receipt.execution_id,
            "id": receipt.execution_id,
            "number": found and found.number,
            "status": found and found.status,
            "skipped": receipt.reason if receipt.is_matched else "",
        }
        where = {"Location": location(found.id)} if found else {}
        return Response(answer, status=202, headers=where)


class WebhookSecret(ScheduleView):
    meanings = {**ScheduleView.meanings, webhook_secrets.NoWebhook: problem.conflict}

    @extend_schema(
        operation_id="schedule_webhook_secret",
        request=RotateSerializer,
        responses={201: SecretSerializer},
    )
    def post(self, request: Request, schedule_id: UUID) -> Response:
        """Make a new secret; it is shown this once, and no repeat of the request gets it again."""
        schedule = self.find(id=schedule_id)
        given = RotateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        overlap = timedelta(milliseconds=given.validated_data["overlap_ms"])
        secret = webhook_secrets.rotate(schedule.id, actor=self.actor, overlap=overlap)
        answer = {"secret": secret, "url": reverse("api:webhook", args=[schedule.id])}
        return Response(answer, status=201, headers={"Cache-Control": "no-store"})


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _body(request: Request) -> bytes:
    """The bytes as they were sent, for they are what is signed; no more of them than is taken."""
    kind = request.content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not (
        kind.startswith("application/") and kind[-5:] == "+json"
    ):
        raise Problem(415, "unsupported_media_type", "Send JSON, as application/json")
    length = request.META.get("CONTENT_LENGTH") or "0"
    is_counted = "chunked" not in request.headers.get("Transfer-Encoding", "").lower()
    if is_counted and length.isdecimal() and int(length[:20]) > payloads.MOST_BYTES:
        raise _too_large()
    body: bytes = request._request.read(payloads.MOST_BYTES + 1)  # noqa: SLF001  DRF would parse it
    if len(body) > payloads.MOST_BYTES:
        raise _too_large()
    return body


def _too_large() -> Problem:
    return Problem(413, "too_large", f"The body is longer than {payloads.MOST_BYTES} bytes")
