"""The id that follows a request: from its header into logs, executions and its answer."""

from __future__ import annotations

import re
from typing import Final
from uuid import uuid4

import structlog
from django.http import HttpRequest
from rest_framework.request import Request

HEADER: Final = "X-Request-ID"
_ACCEPTABLE: Final = re.compile(r"[\w.:=+/-]{1,128}")
_ATTRIBUTE: Final = "_cadenza_request_id"


def of(request: HttpRequest | Request) -> str:
    """The request's id: the caller's if it is short and plain, else one made here."""
    known: str | None = getattr(request, _ATTRIBUTE, None)
    if known is not None:
        return known
    given = request.headers.get(HEADER, "")
    request_id = given if _ACCEPTABLE.fullmatch(given) else _logged() or str(uuid4())
    setattr(request, _ATTRIBUTE, request_id)
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


def _logged() -> str:
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))
