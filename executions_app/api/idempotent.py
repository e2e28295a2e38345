"""`Idempotency-Key`: a POST that starts an execution (or anything else) is carried out once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, TypeVar
from uuid import UUID

from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from executions_app import idempotency
from executions_app.api.problem import Problem
from executions_app.idempotency import InProgress, KeyReused, Replay

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replay"
LONGEST: Final = 255
KEPT_HEADERS: Final = ("Location", "ETag")
_MARK: Final = "is_idempotent"

View = TypeVar("View", bound=APIView)
Rest = ParamSpec("Rest")
Post = Callable[Concatenate[View, Request, Rest], Response]


def once(post: Post[View, Rest]) -> Post[View, Rest]:
    """A `post` method that honours Idempotency-Key; a refused request leaves its key free."""

    @wraps(post)
    def answer(view: View, request: Request, *args: Rest.args, **kwargs: Rest.kwargs) -> Response:
        key = request.headers.get(HEADER)
        if key is None:
            return post(view, request, *args, **kwargs)
        memory = _begin(request, key)
        if isinstance(memory, Replay):
            return Response(
                memory.body, status=memory.status, headers={**memory.headers, REPLAYED: "true"}
            )
        try:
            response = post(view, request, *args, **kwargs)
        except Exception:
            idempotency.forget(memory)
            raise
        idempotency.finish(
            memory,
            status=response.status_code,
            headers={name: response[name] for name in KEPT_HEADERS if name in response},
            body=json.loads(JSONRenderer().render(response.data) or b"null"),
        )
        return response

    setattr(answer, _MARK, True)
    return answer  # type: ignore[return-value]  # mypy loses positional names through wraps


def is_idempotent(view: APIView, method: str) -> bool:
    """True if the view's handler of `method` honours Idempotency-Key."""
    return getattr(getattr(view, method.lower(), None), _MARK, False)


def _begin(request: Request, key: str) -> UUID | Replay:
    if not (key.isascii() and key.isprintable() and 1 <= len(key) <= LONGEST):
        detail = f"{HEADER} must be 1 to {LONGEST} printable ASCII characters"
        raise Problem(400, "invalid_idempotency_key", detail)
    body = json.dumps(request.data, sort_keys=True)
    user_id = request.user.pk
    assert user_id is not None  # IsAuthenticated has let nobody else in
    try:
        return idempotency.begin(
            user_id=user_id,
            key=key,
            request=f"{request.method} {request.get_full_path()}",
            body_hash=hashlib.sha256(body.encode()).hexdigest(),
            now=timezone.now(),
        )
    except KeyReused as error:
        raise Problem(422, "idempotency_key_reused", str(error)) from None
    except InProgress as error:
        raise Problem(409, "idempotency_in_progress", str(error), wait=1) from None
