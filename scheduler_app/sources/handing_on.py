"""What an execution is told of the upstream executions that led to it: their outcome and result."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection

from scheduler_app.sources import chains
from scheduler_app.sources.starting import CHAIN

MOST_BYTES: Final = 256 * 1024  # of all results together
MOST_BYTES_OF_ONE: Final = 64 * 1024
# A result that is too long is not read at all.
READ: Final = f"""
SELECT e.id, coalesce(s.name, e.snapshot->>'name'), e.status, e.outcome, e.correlation_id,
    coalesce(e.snapshot->'{CHAIN}', '[]')::text, e.result_truncated,
    coalesce(octet_length(e.result::text), 0),
    CASE WHEN octet_length(e.result::text) <= %s THEN e.result::text END, e.schedule_id::text
FROM task_executions e LEFT JOIN task_schedules s ON s.id = e.schedule_id
WHERE e.id = ANY(%s::uuid[]) ORDER BY e.id
"""  # noqa: S608  composed of constants of this package only


@dataclass(frozen=True, slots=True)
class HandedOn:
    """The upstream executions by the names of their schedules; the rest is of the last of them."""

    results: dict[str, dict[str, Any]]
    correlation_id: str
    chain: tuple[str, ...]
    """The schedules that led to it, and its own."""


def collect(execution_ids: Collection[UUID], *, last: UUID) -> HandedOn:
    """What these executions hand on; a result that takes too much room is left out and says so."""
    room = min(MOST_BYTES_OF_ONE, MOST_BYTES // len(execution_ids))
    results: dict[str, dict[str, Any]] = {}
    correlation_id = ""
    chain: tuple[str, ...] = ()
    with connection.cursor() as cursor:
        cursor.execute(READ, [room, list(execution_ids)])
        rows = cursor.fetchall()
    for id_, name, status, outcome, correlation, led, truncated, size, result, own in rows:
        results[name] = {
            "execution_id": str(id_),
            "status": status,
            "outcome": outcome,
            "result": None if result is None else json.loads(result),
            "result_truncated": truncated or size > room,
        }
        if id_ == last:
            correlation_id, chain = correlation, chains.waited_for(json.loads(led), own)
    return HandedOn(results, correlation_id, chain)
