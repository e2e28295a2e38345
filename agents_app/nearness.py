"""Puts what an agent remembers into order by how near it lies to a question; used by `memory`.

What a model has not placed yet is placed on the way, some of it with every question. Compared are
the few rows that the caller has chosen, so no index of vectors is needed; the extension pgvector
does it where the database has it, plain SQL where not, with the same order.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from errors_app.taxonomy import HandlerError

MOST_DIMENSIONS: Final = 4_096
PLACED_AT_ONCE: Final = 16  # so that their vectors fit into one answer of a model
ALIKE: Final = """
SELECT id FROM agent_memories
WHERE id = ANY(%(ids)s) AND space = %(space)s AND cardinality(vector) = %(dimensions)s
ORDER BY {likeness} DESC NULLS LAST, id DESC
"""
# The cosine of the angle; nothing has an angle with what has no length.
WITH_PGVECTOR: Final = "nullif(1 - (vector::vector <=> %(wanted)s::real[]::vector), 'NaN')"
WITHOUT: Final = """(
    SELECT sum(a::float8 * b) / nullif(sqrt(sum(a::float8 * a)) * sqrt(sum(b::float8 * b)), 0)
    FROM unnest(vector, %(wanted)s::real[]) AS pair (a, b)
)"""
VERSION: Final = """
SELECT CASE WHEN to_regtype('vector') IS NOT NULL THEN extversion END
FROM pg_extension WHERE extname = 'vector'
"""
PLACE: Final = """
WITH mine AS (
    SELECT id FROM agent_memories WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE agent_memories AS m SET space = %(space)s, vector = placed.vector::real[]
FROM unnest(%(ids)s::uuid[], %(vectors)s::text[]) AS placed (id, vector)
WHERE m.id = placed.id AND m.id IN (SELECT id FROM mine)
"""


@dataclass(frozen=True, slots=True)
class Embed:
    """What makes vectors of texts, in their order, or raises a HandlerError.

    Only vectors of one `space`, a model, can be compared with each other.
    """

    space: str
    vectors: Callable[[Sequence[str]], Sequence[Sequence[float]]]


class NotCompared(Exception):
    """Nobody can say what is near, and why."""


def nearest(rows: Sequence[Mapping[str, Any]], question: str, embed: Embed) -> list[UUID]:
    """The ids of these rows that can be compared, the nearest first; raises NotCompared.

    It goes over the network, so no transaction may be open then.
    """
    missing = [row for row in rows if row["space"] != embed.space][:PLACED_AT_ONCE]
    wanted, *placed = _vectors([question, *(row["text"] for row in missing)], embed)
    if placed:
        _place([row["id"] for row in missing], placed, embed.space)
    return _alike([row["id"] for row in rows], wanted, embed.space)


def pgvector() -> str:
    """The version of the extension, if it can be used; else nothing."""
    with connection.cursor() as cursor:
        cursor.execute(VERSION)
        row = cursor.fetchone()
    return str(row[0] or "") if row else ""


def means() -> str:
    """With what vectors are compared, for `doctor`."""
    version = pgvector()
    if version:
        return f"with pgvector {version}"
    return "without pgvector: CREATE EXTENSION vector makes comparing memories faster"


def _vectors(texts: Sequence[str], embed: Embed) -> list[list[float]]:
    try:
        given = embed.vectors(texts)
    except HandlerError as error:
        raise NotCompared(str(error)) from error
    if len(given) != len(texts) or not all(_is_usable(one) for one in given):
        raise NotCompared(f"the vectors of {embed.space!r} cannot be used")
    return [_unit(one) for one in given]


def _is_usable(vector: Sequence[float]) -> bool:
    return 0 < len(vector) <= MOST_DIMENSIONS and math.isfinite(math.hypot(*vector))


def _unit(vector: Sequence[float]) -> list[float]:
    """In the same direction with the length 1, as numbers of four bytes hold it."""
    length = math.hypot(*vector) or 1.0
    return list(array("f", (one / length for one in vector)))


def _place(ids: list[UUID], vectors: Sequence[Sequence[float]], space: str) -> None:
    """Rows that somebody is forgetting are left to them."""
    texts = [f"{{{','.join(map(repr, one))}}}" for one in vectors]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(PLACE, {"ids": ids, "space": space, "vectors": texts})


def _alike(ids: list[UUID], wanted: list[float], space: str) -> list[UUID]:
    statement = ALIKE.format(likeness=WITH_PGVECTOR if pgvector() else WITHOUT)
    asked: dict[str, Any] = {
        "ids": ids,
        "space": space,
        "dimensions": len(wanted),
        "wanted": wanted,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, asked)
        return [row[0] for row in cursor.fetchall()]
