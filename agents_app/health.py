"""Whether agents and providers do their work: who fails three times in a row is left out a while.

`unhealthy_until` says until when; the pause (LLM_PAUSE_SECONDS) doubles with each further failure,
up to LLM_PAUSE_MAX_SECONDS. Once it is over, one cycle may try (`probe`), and is taken to fail
until it says otherwise: the next pause begins with it, so that nobody else tries at the same time,
also if it is never heard of again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from agents_app import tiers
from agents_app.clients.llm_errors import ModelNotConfigured
from agents_app.models import Agent, Provider
from agents_app.objects import providers
from agents_app.selection_statements import MOST_STAND_INS, PAUSE
from errors_app.taxonomy import ErrorClass, JobExecutionError
from executions_app import events
from executions_app.events import NewEvent
from executions_app.scrub import scrub, storable_text

IN_A_ROW: Final = 3
MOST_ERROR: Final = 500
SUCCESSES_NOTED_SECONDS: Final = 10
LATEST: Final = 50

Subject = Agent | Provider
TABLES: Final[Mapping[type[Subject], str]] = {Provider: "providers", Agent: "agents"}
NOUNS: Final[Mapping[type[Subject], str]] = {Provider: "provider", Agent: "agent"}

# A failure of somebody who is left out already belongs to those that began before.
FAILED: Final = f"""
WITH before AS (SELECT * FROM {{table}} WHERE id = %(id)s FOR NO KEY UPDATE), next AS (
    SELECT id, coalesce(unhealthy_until > now(), false) AS is_out,
        failures_in_row + (NOT coalesce(unhealthy_until > now(), false))::int AS failures
    FROM before
)
UPDATE {{table}} s SET failures_in_row = next.failures, last_error = %(error)s,
    last_error_at = now(),
    unhealthy_until = CASE WHEN next.is_out THEN s.unhealthy_until
        WHEN next.failures >= {IN_A_ROW} THEN now() + {PAUSE.format(count="next.failures")} END
FROM next JOIN before USING (id) WHERE s.id = next.id
RETURNING s.name, s.failures_in_row, s.unhealthy_until, s.last_error,
    s.unhealthy_until IS NOT NULL AND before.unhealthy_until IS NULL
"""  # noqa: S608  constants, and the table of a model
SUCCEEDED: Final = f"""
WITH before AS (
    SELECT id, unhealthy_until FROM {{table}}
    WHERE id = %(id)s AND (failures_in_row > 0 OR coalesce(
        last_success_at < now() - interval '{SUCCESSES_NOTED_SECONDS} seconds', true
    ))
    FOR NO KEY UPDATE
)
UPDATE {{table}} s SET failures_in_row = 0, unhealthy_until = NULL, last_success_at = now()
FROM before WHERE s.id = before.id
RETURNING s.name, 0, s.unhealthy_until, '', before.unhealthy_until IS NOT NULL
"""  # noqa: S608  constants, and the table of a model
IS_NOTED: Final = " AND ".join(
    f"""NOT EXISTS (
        SELECT FROM {table} WHERE id = %({noun})s AND (failures_in_row > 0 OR coalesce(
            last_success_at < now() - interval '{SUCCESSES_NOTED_SECONDS} seconds', true
        ))
    )"""
    for table, noun in ((TABLES[kind], NOUNS[kind]) for kind in TABLES)
)
PROBE: Final = f"""
UPDATE {{table}} SET failures_in_row = failures_in_row + 1,
    unhealthy_until = now() + {PAUSE.format(count="(failures_in_row + 1)")}
WHERE id = %(id)s AND unhealthy_until <= now()
RETURNING id
"""  # noqa: S608  constants, and the table of a model
CHAIN: Final = f"""
WITH RECURSIVE chain AS (
    SELECT id, fallback_provider_id AS next, 0 AS depth FROM providers WHERE id = %(id)s
    UNION ALL
    SELECT p.id, p.fallback_provider_id, c.depth + 1
    FROM chain c JOIN providers p ON p.id = c.next WHERE c.depth < {MOST_STAND_INS}
)
SELECT id, min(depth) FROM chain GROUP BY id
"""  # noqa: S608  constants, and the table of a model
FIGURES: Final = f"""
SELECT a.id, busy.used, latest.cycles, latest.successes
FROM unnest(%(ids)s::uuid[]) AS i(id) JOIN agents a USING (id)
CROSS JOIN LATERAL (
    SELECT count(*) AS used FROM cycles
    WHERE status = 'running' AND stage IN ('plan', 'execute', 'summarise', 'schedule')
        AND agent_id = a.id
) AS busy
CROSS JOIN LATERAL (
    SELECT count(*) AS cycles, count(*) FILTER (
        WHERE status = 'completed' AND tier = ANY(%(by_a_model)s)
    ) AS successes
    FROM (
        SELECT status, tier FROM cycles WHERE agent_id = a.id AND status <> 'running'
        ORDER BY id DESC LIMIT {LATEST}
    ) AS ended
) AS latest
"""  # noqa: S608  constants, and the table of a model


@dataclass(frozen=True, slots=True)
class Figures:
    """How an agent is doing: its used places, and how many of its latest cycles its model planned.

    `success_rate`: from 0 to 1; None before its first cycle has ended.
    """

    used: int
    cycles: int
    success_rate: float | None


def noted(agent_or_provider_id: UUID, *, ok: bool, error: str = "") -> None:
    """Keep how a call of an agent's model, or of a provider, ended; `error` is scrubbed and cut."""
    statement = SUCCEEDED if ok else FAILED
    told = scrub(storable_text(error))[:MOST_ERROR]
    words = {"id": agent_or_provider_id, "error": told}
    with transaction.atomic():
        changed = [
            _event(kind, agent_or_provider_id, row)
            for kind in TABLES
            for row in _rows(statement, kind, words)
            if row[-1]
        ]
        events.emit(changed)
    if changed:
        events.announce()


def asked(agent: Agent, provider: Provider, *, error: Exception | None = None) -> None:
    """Keep how asking a provider for an agent ended, as far as it says something of either.

    Who did not answer is the provider; what is refused for good, or of no use, is the agent's
    model. A spent budget, a missing key or a cancelled execution say nothing of anybody.
    """
    match error:
        case None:
            _both_are_well(agent, provider)
        case ModelNotConfigured():
            return
        case JobExecutionError(error_class=ErrorClass.TRANSIENT | ErrorClass.TIMEOUT):
            noted(provider.id, ok=False, error=str(error))
        case JobExecutionError(error_class=ErrorClass.MALFORMED):
            noted(provider.id, ok=True)
            noted(agent.id, ok=False, error=str(error))
        case JobExecutionError(error_class=ErrorClass.PERMANENT):
            noted(agent.id, ok=False, error=str(error))


def _both_are_well(agent: Agent, provider: Provider) -> None:
    """Mostly that is known: then nothing is written."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {IS_NOTED}", {"agent": agent.id, "provider": provider.id})
        ((is_known,),) = cursor.fetchall()
    if not is_known:
        noted(provider.id, ok=True)
        noted(agent.id, ok=True)


def probe(kind: type[Subject], id_: UUID) -> bool:
    """Whether the caller is the one to try somebody who was left out, its pause being over."""
    return bool(_rows(PROBE, kind, {"id": id_}))


def to_ask(provider: Provider) -> list[Provider]:
    """Which providers may be asked now, in their order: it, then who stands in for it.

    Those that are switched off or left out are not among them. One whose pause is over is, for one
    caller.
    """
    depth = _chain(provider)
    up = Provider.objects.filter(providers.available(), id__in=depth)
    rows = up.select_related("credential").annotate(looked_at=Now())
    found: list[Provider] = []
    for one in sorted(rows, key=lambda one: depth[one.id]):
        until, now = one.unhealthy_until, one.looked_at
        if until is not None and (until > now or found or not probe(Provider, one.id)):
            continue
        found.append(one)
    return found


def _chain(provider: Provider) -> dict[UUID, int]:
    """It and who stands in for it, and for how many each stands in."""
    if provider.fallback_provider_id is None:
        return {provider.id: 0}
    with connection.cursor() as cursor:
        cursor.execute(CHAIN, {"id": provider.id})
        return dict(cursor.fetchall())


def figures(agents: Sequence[Agent]) -> dict[UUID, Figures]:
    """How these agents are doing, in one statement."""
    with connection.cursor() as cursor:
        ids, by_a_model = [one.id for one in agents], sorted(tiers.BY_A_MODEL)
        cursor.execute(FIGURES, {"ids": ids, "by_a_model": by_a_model})
        return {
            id_: Figures(used, cycles, round(successes / cycles, 4) if cycles else None)
            for id_, used, cycles, successes in cursor.fetchall()
        }


def _event(kind: type[Subject], id_: UUID, row: Sequence[Any]) -> NewEvent:
    name, failures, until, error, _ = row
    noun = NOUNS[kind]
    told = {noun: name, "failures_in_row": failures, "unhealthy_until": until, "error": error}
    return NewEvent(
        type="agent:recovered" if until is None else "agent:unhealthy",
        topic=f"{noun}:{id_}",
        data=told,
        severity="" if until is None else "high",
    )


def _rows(statement: str, kind: type[Subject], words: dict[str, Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement.format(table=TABLES[kind]), words)
        return list(cursor.fetchall())
