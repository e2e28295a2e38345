"""What people tell an agent for its next cycles: messages, and facts that it is to know.

A remark is told in cycles of its owner only: of one schedule, or of all. One of nobody is shared,
and told in everybody's: operators alone leave and remove these. Whatever it says is a text in a
prompt; what may be called is decided without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from pydantic import Field, StrictBool

from agents_app import memory
from agents_app.memory import New
from agents_app.models import Agent, Memory
from agents_app.models_memory import MemoryKind
from agents_app.objects import drafts
from agents_app.objects.drafts import Draft, Invalid
from executions_app import ids, permissions
from executions_app.audit import Actor

SHARING: Final = "tell an agent something about everybody's work"
LEFT_BY_PEOPLE: Final = (MemoryKind.MESSAGE, MemoryKind.FACT)
MOST_SCHEDULES: Final = 200
# Schedules belong to the app above.
SCHEDULES: Final = """
SELECT id, name, owner_id FROM task_schedules
WHERE task_type = 'agent' AND (%(everybody)s OR owner_id = %(user)s)
  AND (%(id)s::uuid IS NULL OR id = %(id)s) AND (%(name)s::text IS NULL OR name = %(name)s)
ORDER BY owner_id = %(user)s DESC, name, id LIMIT %(most)s
"""


class RemarkDraft(Draft):
    """What is said, and about which schedule that an AI plans, by id or name; without: all."""

    text: Annotated[str, Field(min_length=1, max_length=memory.MOST_TEXT)]
    schedule_id: Annotated[str, Field(max_length=200)] | None = None
    shared: StrictBool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule that an AI plans."""

    id: UUID
    name: str
    owner_id: int


def seen_by(user: User) -> QuerySet[Memory]:
    """Messages and facts that this user may know of, also those that agents have noted."""
    return _known_to(user).filter(kind__in=[one.value for one in LEFT_BY_PEOPLE])


def _known_to(user: User) -> QuerySet[Memory]:
    is_theirs = Q(owner_id=user.pk) | Q(owner_id__isnull=True)
    return Memory.objects.all() if user.is_superuser else Memory.objects.filter(is_theirs)


def schedules(user: User, *, reference: str | None = None) -> list[Planned]:
    """The schedules that this user may say something about: their own first, by name."""
    as_id = None if reference is None else ids.as_uuid(reference)
    asked = {
        "everybody": user.is_superuser,
        "user": user.pk,
        "id": as_id,
        "name": reference if as_id is None else None,
        "most": MOST_SCHEDULES,
    }
    with connection.cursor() as cursor:
        cursor.execute(SCHEDULES, asked)
        return [Planned(*row) for row in cursor.fetchall()]


def leave(agent_id: UUID, words: Mapping[str, Any], *, kind: MemoryKind, user: User) -> Memory:
    """Tell an agent something; it is told in the cycles that begin from now on.

    Raises Invalid, Unknown, OperatorNeeded.
    """
    draft = drafts.parse(RemarkDraft, words)
    about = _about(draft, user)
    if draft.shared:
        permissions.check_operator(user, SHARING)
    owner_id = None if draft.shared else about.owner_id if about else user.pk
    new = New(
        agent_id=agent_id,
        owner_id=owner_id,
        kind=kind,
        text=draft.text,
        schedule_id=about.id if about else None,
        author=user.get_username(),
    )
    with transaction.atomic():
        drafts.hold()
        drafts.locked(Agent.objects.all(), agent_id)
        row = memory.remember(new)
        if row is None:
            raise Invalid.field("text", "says nothing", code="required")
        drafts.record("created", row, Actor.of(user), after=shown(row))
    return row


def remove(row_id: UUID, *, user: User) -> None:
    """Take back what was told, or what the agent has noted; raises Unknown, OperatorNeeded.

    Cycles that began before go on with it.
    """
    with transaction.atomic():
        row = drafts.locked(_known_to(user), row_id)
        if row.owner_id is None:
            permissions.check_operator(user, SHARING)
        drafts.record("deleted", row, Actor.of(user), before=shown(row))
        row.delete()


def shown(row: Memory) -> dict[str, Any]:
    """What the audit log keeps of it."""
    return {
        "agent": str(row.agent_id),
        "kind": row.kind,
        "text": row.text,
        "schedule_id": row.schedule_id and str(row.schedule_id),
        "owner": row.owner_id,
        "author": row.author,
    }


def _about(draft: RemarkDraft, user: User) -> Planned | None:
    if not draft.schedule_id:
        return None
    if draft.shared:
        raise Invalid.field("shared", "a schedule has an owner: leave one of the two out")
    found = schedules(user, reference=draft.schedule_id)
    if not found:
        message = f"there is no schedule {draft.schedule_id!r} that an AI plans"
        raise Invalid.field("schedule_id", message, code="unknown")
    if len(found) > 1 and found[0].owner_id != user.pk:
        raise Invalid.field("schedule_id", "several have this name: give its id", code="ambiguous")
    return found[0]
