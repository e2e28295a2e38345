"""Requests that are carried out once however often they arrive: the memory of `Idempotency-Key`.

After draft-ietf-httpapi-idempotency-key-header. A request that died half-way is not done again:
whether it had its effect is unknown, and a second effect is what the key is there to prevent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from executions_app import ids
from executions_app.models import IdempotencyKey
from executions_app.states import SchedulerException

REMEMBERED: Final = timedelta(hours=24)


class InProgress(SchedulerException):
    """The first request of this key has not been answered."""


class KeyReused(SchedulerException):
    """The key was used for another request."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The answer that the first request was given."""

    status: int
    headers: dict[str, str]
    body: Any


def begin(*, user_id: int, key: str, request: str, body_hash: str, now: datetime) -> UUID | Replay:
    """Take the key for this request (its memory is answered), or the answer it was given before.

    Raises InProgress and KeyReused.
    """
    of_user = IdempotencyKey.objects.filter(user_id=user_id)
    with transaction.atomic():
        of_user.filter(created_at__lt=now - REMEMBERED).delete()
        own_id = ids.new(now)
        own = IdempotencyKey(
            id=own_id,
            user_id=user_id,
            key=key,
            request=request,
            body_hash=body_hash,
            created_at=now,
        )
        IdempotencyKey.objects.bulk_create([own], ignore_conflicts=True)
        kept = of_user.get(key=key)
    if kept.id == own_id:
        return own_id
    if (kept.request, kept.body_hash) != (request, body_hash):
        raise KeyReused(f"Idempotency-Key {key!r} was used for another request; choose a new one")
    if kept.response_status is None:
        raise InProgress(
            f"The request with Idempotency-Key {key!r} has not been answered; wait for its answer, "
            "or look at what it did before you repeat it with a new key"
        )
    return Replay(kept.response_status, kept.response_headers, kept.response_body)


def finish(memory: UUID, *, status: int, headers: Mapping[str, str], body: Any) -> None:
    """Keep the answer of a request for its repeats."""
    IdempotencyKey.objects.filter(id=memory).update(
        response_status=status, response_headers=dict(headers), response_body=body
    )


def forget(memory: UUID) -> None:
    """Free the key of a request that was refused, so that it can be corrected and sent again."""
    IdempotencyKey.objects.filter(id=memory, response_status__isnull=True).delete()
