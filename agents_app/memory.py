"""What an agent remembers, for the next cycle: outcomes, facts, and what people have told it.

Of each kind the newest 50 are kept for each agent, owner and schedule, those of people and those of
the agent apart: it drives nothing out that people have left. What belongs to no schedule is every
schedule's of the same owner, what belongs to no owner is everybody's. The few rows that a cycle may
be told are found by an index; where an embedding model is configured (EMBEDDING_MODEL), facts and
outcomes that are nearest to a question come first, else the newest.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from agents_app import nearness
from agents_app.models import Cycle, Memory
from agents_app.models_memory import MemoryKind
from agents_app.nearness import Embed as Embed
from agents_app.planning.job_context import Note
from executions_app.scrub import scrub, storable_text

MOST_KEPT: Final = 50
MOST_TEXT: Final = 2_000
MESSAGE: Final = MemoryKind.MESSAGE.value

# As many of each kind as are asked for, so that many outcomes hide no fact. Each part is a range of
# one index, however much others have left.
NEWEST: Final = """
SELECT id, kind, text, created_at, space, author <> '' AS is_of_a_person FROM (
    SELECT *, row_number() OVER (PARTITION BY kind, author <> '' ORDER BY id DESC) AS place
    FROM (
        SELECT id, kind, text, created_at, space, author FROM agent_memories
        WHERE agent_id = %(agent)s AND owner_id = %(owner)s AND schedule_id = %(schedule)s
        UNION ALL
        SELECT id, kind, text, created_at, space, author FROM agent_memories
        WHERE agent_id = %(agent)s AND owner_id = %(owner)s AND schedule_id IS NULL
        UNION ALL
        SELECT id, kind, text, created_at, space, author FROM agent_memories
        WHERE agent_id = %(agent)s AND owner_id IS NULL AND schedule_id IS NULL
    ) AS its
) AS kept WHERE place <= %(most)s ORDER BY id DESC
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """Something to remember. With `schedule_id` None it holds for all of the owner's work.

    With `owner_id` None it holds for everybody's; `author`: the person who left it.
    """

    agent_id: UUID
    owner_id: int | None
    kind: MemoryKind
    text: str
    schedule_id: UUID | None = None
    execution_id: UUID | None = None
    author: str = ""


@dataclass(frozen=True, slots=True)
class Recalled:
    """What there is to be told, by kind; `trouble`: why it is told by its age alone."""

    messages: tuple[Note, ...] = ()
    others: tuple[Note, ...] = ()
    trouble: str = ""


def remember(new: New) -> Memory | None:
    """Keep it, without secrets and cut, and forget what is beyond the newest of its kind.

    An execution has one outcome: a later one takes the place of that of an earlier attempt. None if
    nothing is left of the text.
    """
    text = scrub(storable_text(new.text)).strip()[:MOST_TEXT]
    if not text:
        return None
    alike = Memory.objects.filter(
        agent_id=new.agent_id,
        owner_id=new.owner_id,
        schedule_id=new.schedule_id,
        kind=new.kind.value,
    )
    alike = alike.exclude(author="") if new.author else alike.filter(author="")
    with transaction.atomic():
        if new.kind is MemoryKind.OUTCOME and new.execution_id is not None:
            _forget(alike.filter(execution_id=new.execution_id))
        row = Memory.objects.create(
            agent_id=new.agent_id,
            owner_id=new.owner_id,
            schedule_id=new.schedule_id,
            execution_id=new.execution_id,
            kind=new.kind.value,
            text=text,
            author=new.author,
        )
        _forget(Memory.objects.filter(id__in=alike.order_by("-id").values("id")[MOST_KEPT:]))
    return row


def remember_cycle(cycle: Cycle, *, outcome: str) -> None:
    """What became of a cycle, for the next of its schedule; nothing if it had no agent.

    Called once its end is committed: it is no part of it, and done twice it changes nothing.
    """
    if cycle.agent_id is None:
        return
    planned_by = f" (planned by: {cycle.tier})" if cycle.tier else ""
    remember(
        New(
            agent_id=cycle.agent_id,
            owner_id=cycle.owner_id,
            kind=MemoryKind.OUTCOME,
            text=f"{outcome}{planned_by}. {cycle.summary}",
            schedule_id=cycle.schedule_id,
            execution_id=cycle.execution_id,
        )
    )


def recall(
    agent_id: UUID | None,
    *,
    owner_id: int,
    schedule_id: UUID | None,
    query: str = "",
    embed: Embed | None = None,
    limit: int = MOST_KEPT,
) -> Recalled:
    """At most `limit` of each kind, of people and of the agent, for this schedule of this owner.

    Messages come by their age. Of the others what people have left comes first, then the nearest;
    what cannot be compared comes after what can. Without an agent nothing is remembered.
    """
    if agent_id is None:
        return Recalled()
    whose = {"agent": agent_id, "owner": owner_id, "schedule": schedule_id}
    rows = _rows({**whose, "most": limit if embed is None else MOST_KEPT})
    messages = [row for row in rows if row["kind"] == MESSAGE]
    others = [row for row in rows if row["kind"] != MESSAGE]
    places, trouble = _places(others, query, embed)
    others.sort(key=lambda row: (not row["is_of_a_person"], places.get(row["id"], len(rows))))
    return Recalled(
        tuple(_first_of_each_kind(messages, limit)),
        tuple(_first_of_each_kind(others, limit)),
        trouble,
    )


def _forget(chosen: QuerySet[Memory]) -> None:
    """Rows that somebody else is forgetting are left to them."""
    locked = chosen.order_by("id").select_for_update(skip_locked=True)
    Memory.objects.filter(id__in=list(locked.values_list("id", flat=True))).delete()


def _rows(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(NEWEST, asked)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _places(
    rows: list[dict[str, Any]], query: str, embed: Embed | None
) -> tuple[dict[UUID, int], str]:
    """Where each stands of those that can be compared; memory stops no cycle."""
    if embed is None or not rows or not query.strip():
        return {}, ""
    try:
        ordered = nearness.nearest(rows, query, embed)
    except nearness.NotCompared as error:
        logger.warning("What an agent remembers is not compared: %s", error)
        return {}, f"What the agent remembers is told by its age alone: {error}"
    return {id_: place for place, id_ in enumerate(ordered)}, ""


def _first_of_each_kind(rows: Iterable[Mapping[str, Any]], limit: int) -> Iterable[Note]:
    taken: Counter[tuple[str, bool]] = Counter()
    for row in rows:
        kind = (row["kind"], row["is_of_a_person"])
        taken[kind] += 1
        if taken[kind] <= limit:
            yield Note(kind=row["kind"], text=row["text"], at=row["created_at"])
