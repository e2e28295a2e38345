"""Describes the door to executions and all else: what every operation of the API has in common.

Each may answer with a problem document; a POST may carry an Idempotency-Key.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema_serializer
from rest_framework import serializers
from rest_framework.permissions import AllowAny

from executions_app.api import idempotent
from executions_app.api.problem import MEDIA_TYPE

WRITING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class FieldErrorSerializer(serializers.Serializer[Any]):
    pointer = serializers.CharField(help_text="a JSON pointer (RFC 6901) into the request")
    code = serializers.CharField()
    detail = serializers.CharField()


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "a cron expression that is none",
            response_only=True,
            value={
                "type": "urn:cadenza:problem:validation_error",
                "title": "Bad Request",
                "status": 400,
                "detail": "The request is not valid: see /schedule_config/cron",
                "instance": "/api/scheduler/schedules",
                "code": "validation_error",
                "request_id": "0195f2c4-7d1e-4f0a-9a55-3d2a6d1c9b11",
                "errors": [
                    {
                        "pointer": "/schedule_config/cron",
                        "code": "invalid",
                        "detail": "'99' is not a minute; it takes 0 to 59",
                    }
                ],
            },
        )
    ]
)
class ProblemSerializer(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField(help_text="urn:cadenza:problem:<code>")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="for people")
    instance = serializers.CharField(help_text="the path that was asked for")
    code = serializers.CharField(help_text="for programs")
    request_id = serializers.CharField(help_text="also in the header X-Request-ID and in the log")
    errors = FieldErrorSerializer(  # type: ignore[assignment]  # a field, not the serializer's own
        many=True, help_text="one for each field that is wrong"
    )


class ProblemSchema(AutoSchema):
    """An operation, its problems and its idempotency key."""

    def get_override_parameters(self) -> list[Any]:
        if not idempotent.is_idempotent(self.view, self.method):
            return []
        return [
            OpenApiParameter(
                idempotent.HEADER,
                str,
                OpenApiParameter.HEADER,
                description="done once within 24 hours; repeats get the first answer, marked with "
                "the header Idempotent-Replay",
            )
        ]

    def _get_response_bodies(
        self, direction: Literal["request", "response"] = "response"
    ) -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction=direction)
        if direction == "response":
            for status in self._problem_statuses():
                if status not in bodies:
                    bodies[status] = self._get_response_for_code(  # type: ignore[no-untyped-call]
                        ProblemSerializer, status, media_types=[MEDIA_TYPE]
                    )
        return bodies

    def _problem_statuses(self) -> list[str]:
        is_open = any(isinstance(one, AllowAny) for one in self.view.get_permissions())
        may_be = {
            "400": self.method in WRITING - {"DELETE"} or self._is_list_view(),
            "401": not is_open,
            "403": self.method in WRITING,
            "404": "{" in self.path,
            "409": self.method in WRITING,
            "422": idempotent.is_idempotent(self.view, self.method),
            "503": not is_open,
        }
        return [status for status, is_possible in may_be.items() if is_possible]


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The personal token."""

    target_class = "executions_app.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:  # noqa: ARG002
        return {"type": "http", "scheme": "bearer", "bearerFormat": "cdz_..."}
