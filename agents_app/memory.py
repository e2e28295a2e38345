"""What an agent remembers of earlier cycles, for the next: outcomes, messages and facts, bounded.

Of each kind the newest 50 are kept per agent and schedule; what belongs to no schedule is every
schedule's. Where an embedding model is configured (EMBEDDING_MODEL), what is nearest to a question
comes first, else the newest. The few rows are compared here: that needs no index of vectors.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from agents_app import connections
from agents_app.models import Cycle, Memory
from agents_app.models_memory import MemoryKind
from agents_app.planning.job_context import Note
from errors_app.taxonomy import JobExecutionError
from executions_app.scrub import scrub, storable_text

MOST_KEPT: Final = 50
MOST_TEXT: Final = 2_000
MOST_DIMENSIONS: Final = 4_096
UNLIKE_ALL: Final = -2.0
MESSAGE: Final = MemoryKind.MESSAGE.value

# As many of each kind as are asked for, so that many outcomes hide no fact.
NEWEST: Final = """
SELECT id, kind, text, created_at{embedding} FROM (
    SELECT *, row_number() OVER (PARTITION BY kind ORDER BY id DESC) AS place FROM agent_memories
    WHERE agent_id = %(agent)s AND {mine}
) AS kept WHERE place <= %(most)s ORDER BY id DESC
"""

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Vectors of texts, in their order; raises a JobExecutionError where it cannot have them."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class New:
    """Something to remember. With `schedule_id` None it holds for all of the agent's work."""

    agent_id: UUID
    owner_id: int
    kind: MemoryKind
    text: str
    schedule_id: UUID | None = None
    execution_id: UUID | None = None


def remember(new: New, *, embed: Embed | None = None) -> None:
    """Keep it, without secrets and cut, and forget what is beyond the newest of its kind.

    An execution has one outcome: a later one takes the place of that of an earlier attempt. `embed`
    goes over the network, so no transaction may be open then.
    """
    text = scrub(storable_text(new.text)).strip()[:MOST_TEXT]
    if not text:
        return
    vector = _vector(text, embed)
    alike = Memory.objects.filter(
        agent_id=new.agent_id, schedule_id=new.schedule_id, kind=new.kind.value
    )
    with transaction.atomic():
        if new.kind is MemoryKind.OUTCOME and new.execution_id is not None:
            _forget(alike.filter(execution_id=new.execution_id))
        Memory.objects.create(
            agent_id=new.agent_id,
            owner_id=new.owner_id,
            schedule_id=new.schedule_id,
            execution_id=new.execution_id,
            kind=new.kind.value,
            text=text,
            embedding=vector,
        )
        _forget(Memory.objects.filter(id__in=alike.order_by("-id").values("id")[MOST_KEPT:]))


def remember_cycle(cycle: Cycle, *, outcome: str, embed: Embed | None = None) -> None:
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
        ),
        embed=embed,
    )


def recall(
    agent_id: UUID | None,
    *,
    schedule_id: UUID | None,
    query: str = "",
    embed: Embed | None = None,
    limit: int = MOST_KEPT,
) -> list[Note]:
    """At most `limit` of each kind, of this schedule and of none: the nearest, else the newest.

    What cannot be compared comes after what can. Without an agent nothing is remembered.
    """
    if agent_id is None:
        return []
    wanted = _vector(query, embed) if query.strip() else None
    if wanted is None:
        rows = _rows(agent_id, schedule_id, most=limit)
        return [_note(row) for row in rows]
    rows = _rows(agent_id, schedule_id, most=MOST_KEPT, also=", embedding")
    nearest = sorted(rows, key=lambda row: -_likeness(wanted, row["embedding"]))
    return [_note(row) for row in _of_each_kind(nearest, limit)]


def _forget(chosen: QuerySet[Memory]) -> None:
    """Rows that somebody else is forgetting are left to them."""
    locked = chosen.order_by("id").select_for_update(skip_locked=True)
    Memory.objects.filter(id__in=list(locked.values_list("id", flat=True))).delete()


def _vector(text: str, embed: Embed | None) -> list[float] | None:
    """Where the text lies; None where nobody can say, since memory stops no cycle."""
    if embed is None:
        return None
    connections.let_go()  # nobody holds one while the network goes on
    try:
        vectors = embed([text])
    except JobExecutionError as error:
        logger.warning("What an agent remembers is not compared: %s", error)
        return None
    values = [float(one) for one in vectors[0]] if len(vectors) == 1 else []
    is_whole = 0 < len(values) <= MOST_DIMENSIONS and all(math.isfinite(one) for one in values)
    return values if is_whole else None


def _rows(
    agent_id: UUID, schedule_id: UUID | None, *, most: int, also: str = ""
) -> list[dict[str, Any]]:
    mine = "schedule_id IS NULL"
    if schedule_id is not None:
        mine = "(schedule_id IS NULL OR schedule_id = %(schedule)s)"
    with connection.cursor() as cursor:
        cursor.execute(
            NEWEST.format(embedding=also, mine=mine),
            {"agent": agent_id, "schedule": schedule_id, "most": most},
        )
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _of_each_kind(rows: Sequence[Mapping[str, Any]], limit: int) -> list[Mapping[str, Any]]:
    taken: dict[str, int] = {}
    kept = []
    for row in rows:
        taken[row["kind"]] = taken.get(row["kind"], 0) + 1
        if taken[row["kind"]] <= limit:
            kept.append(row)
    return kept


def _likeness(wanted: Sequence[float], other: Any) -> float:
    """The cosine of the angle between two vectors; below every cosine if there is no second."""
    vector = json.loads(other) if isinstance(other, str) else other
    if not isinstance(vector, list) or len(vector) != len(wanted):
        return UNLIKE_ALL
    length = math.hypot(*wanted) * math.hypot(*vector)
    return sum(map(mul, wanted, vector)) / length if length else UNLIKE_ALL


def _note(row: Mapping[str, Any]) -> Note:
    return Note(kind=row["kind"], text=row["text"], at=row["created_at"])
