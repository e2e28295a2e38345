"""What callers are told when an execution, or anything else, cannot be had: RFC 9457 problems.

Every error under `/api` leaves through here, whether a view raised it, Django did, or a service is
away. `code` is for programs, `detail` for people, and neither shows what only the log may know.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import ObjectDoesNotExist, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults
from drf_standardized_errors.formatter import ExceptionFormatter, flatten_errors
from drf_standardized_errors.handler import ExceptionHandler
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from executions_app.api import request_ids
from executions_app.api.problem import (
    MEDIA_TYPE,
    FieldError,
    Meanings,
    Problem,
    away,
    conflict,
    invalid,
    is_away,
    pointer,
)
from executions_app.states import SchedulerException

UNEXPECTED: Final = "Something went wrong that nobody foresaw; the log has it under this request_id"

logger = logging.getLogger(__name__)


class ProblemFormatter(ExceptionFormatter):
    """An exception of REST framework as a problem document."""

    def run(self) -> dict[str, Any]:
        if isinstance(self.exc, exceptions.ValidationError):
            fields = [
                FieldError(
                    pointer(*(one.attr or "").split(".")) if one.attr else "", one.code, one.detail
                )
                for one in flatten_errors(self.exc.detail)
            ]
            return self._document(invalid(fields))
        return self._document(self.exc)

    def _document(self, exc: exceptions.APIException) -> dict[str, Any]:
        detail = exc.detail
        assert isinstance(detail, exceptions.ErrorDetail)
        code = "internal_error" if exc.status_code == 500 else str(detail.code)
        request = self.context["request"]
        assert request is not None  # only a test of the library itself has none
        return document(
            request,
            status=exc.status_code,
            code=code,
            detail=UNEXPECTED if exc.status_code == 500 else str(detail),
            errors=getattr(exc, "errors", ()),
        )


class ProblemHandler(ExceptionHandler):
    """Every exception of a view as an answer; only what nobody foresaw is logged with its stack."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        meanings: Meanings = getattr(self.context["view"], "meanings", {})
        for type_ in type(exc).__mro__:
            if type_ in meanings:
                return meanings[type_](exc)
        if is_away(exc):
            logger.warning("A request was refused: %s: %s", type(exc).__name__, exc)
            return away(exc)
        if isinstance(exc, SchedulerException):
            return conflict(exc)
        if isinstance(exc, ObjectDoesNotExist):
            return Problem(404, "not_found", "It was there a moment ago and is gone")
        if isinstance(exc, SuspiciousOperation):
            return Problem(400, "bad_request", "The request cannot be used")
        known: Exception = super().convert_known_exceptions(exc)
        return known

    def get_response(self, exc: exceptions.APIException, data: dict[str, Any]) -> Response:
        headers = self.get_headers(exc)
        return Response(data, status=exc.status_code, headers=headers, content_type=MEDIA_TYPE)

    def report_exception(self, exc: exceptions.APIException, response: Response) -> None:
        if exc.status_code == 500:
            super().report_exception(exc, response)


def document(
    request: HttpRequest | Request,
    *,
    status: int,
    code: str,
    detail: str,
    errors: Sequence[FieldError] = (),
) -> dict[str, Any]:
    """The members of a problem document."""
    return {
        "type": f"urn:cadenza:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.path,
        "code": code,
        "request_id": request_ids.of(request),
        "errors": [asdict(one) for one in errors],
    }


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's 400."""
    if not _is_api(request):
        return defaults.bad_request(request, exception)
    return _answer(request, Problem(400, "bad_request", "The request cannot be used"))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's 403."""
    if not _is_api(request):
        return defaults.permission_denied(request, exception)
    return _answer(request, Problem(403, "permission_denied", "You may not do this"))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's 404: a path that is none."""
    if not _is_api(request):
        return defaults.page_not_found(request, exception)
    return _answer(request, Problem(404, "not_found", "There is nothing at this path"))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's 500, also for whatever fails because PostgreSQL or Redis is away: that is a 503."""
    error = sys.exc_info()[1]
    if error is not None and is_away(error):
        logger.warning("A request was refused: %s: %s", type(error).__name__, error)
        is_page = not _is_api(request) and request.accepts("text/html")
        return _page(away(error)) if is_page else _answer(request, away(error))
    if not _is_api(request):
        return defaults.server_error(request)
    return _answer(request, Problem(500, "internal_error", UNEXPECTED))


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _page(problem: Problem) -> HttpResponse:
    """For a person who looks at a page; nothing of it needs the database."""
    words = {"title": HTTPStatus(problem.status_code).phrase, "detail": problem.detail}
    text = render_to_string("executions_app/unavailable.html", words)
    headers = {"Retry-After": str(problem.wait), "Refresh": str(problem.wait)}
    return HttpResponse(text, status=problem.status_code, headers=headers)


def _answer(request: HttpRequest, problem: Problem) -> HttpResponse:
    body = document(
        request,
        status=problem.status_code,
        code=str(problem.get_codes()),
        detail=str(problem.detail),
    )
    answer = HttpResponse(json.dumps(body), status=problem.status_code, content_type=MEDIA_TYPE)
    answer[request_ids.HEADER] = body["request_id"]
    if problem.wait is not None:
        answer["Retry-After"] = str(problem.wait)
    return answer
