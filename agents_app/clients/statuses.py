"""What an answer's status means for the execution that called, and how its parameters travel."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from pydantic import JsonValue

from agents_app.clients import http
from agents_app.clients.outgoing import shown
from errors_app.taxonomy import ErrorClass, HandlerError

WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
# RFC 9110, 9.2.2; GET and the like are safe, and so they are idempotent.
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
IDEMPOTENT: Final = SAFE | {"PUT", "DELETE"}
WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})
MOST_SHOWN_OF_BODY: Final = 2_000


def refused(request: http.Request, response: http.Response) -> HandlerError:
    """The failure that an answer is whose status is no success; says whether to try again."""
    is_transient = response.status in WORTH_ANOTHER_TRY or response.status >= 500
    kept = response.as_json()
    kept["body"] = str(response.body)[:MOST_SHOWN_OF_BODY]
    wait = retry_after(response.headers.get("retry-after", ""), now=datetime.now(UTC))
    return HandlerError(
        f"{request.method} {shown(request.url)} answered {response.status}",
        error_class=ErrorClass.TRANSIENT if is_transient else ErrorClass.PERMANENT,
        retry_after=wait,
        may_repeat=None if request.is_idempotent else _was_refused(response, wait),
        response=kept,
    )


def _was_refused(response: http.Response, wait: float | None) -> bool:
    """Whether the endpoint says that it has not carried the request out: 4xx, or "come again".

    After a redirect that is the word of another address; the first may have carried it out.
    """
    is_refusal = 400 <= response.status < 500 or (response.status == 503 and wait is not None)
    return is_refusal and not response.was_redirected


def retry_after(value: str, *, now: datetime) -> float | None:
    """Seconds to wait that a Retry-After header asks for (RFC 9110, 10.2.3); None if unreadable."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - now).total_seconds())


def as_query(parameters: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Parameters as a query carries them: lists as repeated names, all but text as JSON."""
    return {
        name: [_text(one) for one in value] if isinstance(value, list) else _text(value)
        for name, value in parameters.items()
    }


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def request_id(correlation_id: str, *, otherwise: object) -> str:
    """What X-Request-ID carries: the correlation id, unless it would not fit into a header."""
    is_sendable = re.fullmatch(r"[\x21-\x7e]{1,200}", correlation_id)
    return correlation_id if is_sendable else str(otherwise)


def request_id_of(context: Any) -> str:
    """The same of what a handler is given, which has the id of its execution at least."""
    return request_id(str(getattr(context, "correlation_id", "")), otherwise=context.execution_id)
