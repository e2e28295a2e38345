"""Failed attempts and given-up executions over HTTP: list them, and decide about them."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from errors_app import handling, overview
from errors_app.api.filters import DeadLetterFilter, ErrorFilter
from errors_app.api.serializers import (
    DeadLetterSerializer,
    DecidedErrorSerializer,
    ErrorRecordSerializer,
    NoteSerializer,
    RecoveryStateSerializer,
    RetrySerializer,
    ToldDeadLetterSerializer,
)
from errors_app.models import DeadLetter, ErrorRecord
from executions_app import ownership
from executions_app.api import idempotent
from executions_app.api.base import ApiView
from executions_app.api.views import location


def note(request: Request) -> str:
    """The note of a decision; raises ValidationError."""
    given = NoteSerializer(data=request.data)
    given.is_valid(raise_exception=True)
    said: str = given.validated_data["note"]
    return said


def retry_words(request: Request) -> dict[str, Any]:
    """The note and, if given, the parameters of another try; raises ValidationError."""
    given = RetrySerializer(data=request.data)
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


class ErrorView(ApiView[ErrorRecord]):
    rows = ErrorRecord.objects.all()
    serializer_class = ErrorRecordSerializer


class Errors(ErrorView):
    filterset_class = ErrorFilter

    @extend_schema(operation_id="error_list", responses=ErrorRecordSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Error records, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class OneError(ErrorView):
    @extend_schema(operation_id="error_read")
    def get(self, _request: Request, error_id: UUID) -> Response:
        """One error record with its stack and context."""
        return self.answer(self.find(id=error_id))


class RetryError(ErrorView):
    @extend_schema(
        request=RetrySerializer,
        responses={202: OpenApiResponse(ErrorRecordSerializer, "Its execution is due")},
    )
    @idempotent.once
    def post(self, request: Request, error_id: UUID) -> Response:
        """Run the execution of this error again, now, with other parameters if you give some."""
        record = self.find(id=error_id)
        record = handling.retry(record, actor=self.actor, **retry_words(request))
        assert record.execution_id is not None  # only such an error can be retried
        return self.answer(record, status=202, Location=location(record.execution_id))


class DecideError(ErrorView):
    """Resolve, ignore or escalate: `decision` is set below."""

    serializer_class = DecidedErrorSerializer
    decision: ClassVar[Any] = None

    @extend_schema(request=NoteSerializer)
    @idempotent.once
    def post(self, request: Request, error_id: UUID) -> Response:
        """Decide about an error; who did it, when and why is kept. Its execution goes on as it is.

        The answer says when that is tried again.
        """
        record = self.find(id=error_id)
        decide = type(self).decision
        return self.answer(decide(record, actor=self.actor, note=note(request)))


class ResolveError(DecideError):
    decision = staticmethod(handling.resolve)


class IgnoreError(DecideError):
    decision = staticmethod(handling.ignore)


class EscalateError(DecideError):
    decision = staticmethod(handling.escalate)


class Status(ApiView[ErrorRecord]):
    rows = ErrorRecord.objects.all()
    serializer_class = RecoveryStateSerializer

    @extend_schema(operation_id="error_status")
    def get(self, request: Request) -> Response:
        """How recovery stands."""
        letters = ownership.visible_to(request.user, DeadLetter.objects.all())
        state = overview.read(self.get_queryset(), letters)
        return Response(RecoveryStateSerializer(state).data)


class DeadLetterView(ApiView[DeadLetter]):
    rows = DeadLetter.objects.all()
    serializer_class = DeadLetterSerializer


class DeadLetters(DeadLetterView):
    filterset_class = DeadLetterFilter

    @extend_schema(operation_id="dead_letter_list", responses=DeadLetterSerializer(many=True))
    def get(self, _request: Request) -> Response:
        """Given-up executions that nobody has decided about, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class OneDeadLetter(DeadLetterView):
    serializer_class = ToldDeadLetterSerializer

    @extend_schema(operation_id="dead_letter_read")
    def get(self, _request: Request, letter_id: UUID) -> Response:
        """One given-up execution with its last error and every attempt that failed."""
        return self.answer(self.find(id=letter_id))


class RequeueDeadLetter(DeadLetterView):
    @extend_schema(
        request=RetrySerializer,
        responses={202: OpenApiResponse(DeadLetterSerializer, "Its execution is due")},
    )
    @idempotent.once
    def post(self, request: Request, letter_id: UUID) -> Response:
        """Give the execution a new budget of attempts; it is due at once.

        That of an agent goes on from the failed step: what ended well is not called again.
        """
        letter = self.find(id=letter_id)
        letter = handling.requeue(letter, actor=self.actor, **retry_words(request))
        return self.answer(letter, status=202, Location=location(letter.execution_id))


class DiscardDeadLetter(DeadLetterView):
    @extend_schema(request=NoteSerializer)
    @idempotent.once
    def post(self, request: Request, letter_id: UUID) -> Response:
        """Let the execution go; it stays readable and is never run again."""
        letter = self.find(id=letter_id)
        return self.answer(handling.discard(letter, actor=self.actor, note=note(request)))
