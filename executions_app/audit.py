"""Who did what: one append-only row per act of a person, in the transaction of the act."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from executions_app import ids
from executions_app.models import AuditEntry


@dataclass(frozen=True, slots=True)
class Actor:
    """The person (or part of the system) behind an act; `user_id` is None for the system."""

    name: str
    user_id: int | None = None

    @classmethod
    def of(cls, user: AbstractBaseUser | AnonymousUser) -> Actor:
        return cls(name=user.get_username(), user_id=user.pk)


SYSTEM: Final = Actor("system")


def record(
    actor: Actor,
    action: str,
    *,
    object_type: str,
    object_id: object,
    now: datetime,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    note: str = "",
) -> None:
    """Append one entry; `action` is a verb in the past, such as `schedule.paused`."""
    AuditEntry.objects.create(
        id=ids.new(now),
        actor_id=actor.user_id,
        actor=actor.name,
        action=action,
        object_type=object_type,
        object_id=str(object_id),
        before=before,
        after=after,
        note=note,
        created_at=now,
    )


def record_all(
    actor: Actor,
    action: str,
    *,
    object_type: str,
    object_ids: Iterable[object],
    now: datetime,
    after: Mapping[str, Any] | None = None,
    note: str = "",
) -> None:
    """Append one entry for each object, in one statement."""
    fresh = ids.stream(now)
    AuditEntry.objects.bulk_create(
        AuditEntry(
            id=next(fresh),
            actor_id=actor.user_id,
            actor=actor.name,
            action=action,
            object_type=object_type,
            object_id=str(one),
            after=after,
            note=note,
            created_at=now,
        )
        for one in object_ids
    )
