"""The SQL of choosing an agent: who could carry out a cycle, how busy they are, who waits.

An agent's used places are counted, never stored: a running cycle that has begun holds one. So a
place that a lost process held is free as soon as its cycle is over, and nothing has to be released.
"""

from __future__ import annotations

from typing import Final

from config.env import env

WORKING: Final = "status = 'running' AND stage IN ('plan', 'execute', 'summarise', 'schedule')"
MOST_STAND_INS: Final = 4
"""Of a stand-in's stand-in's stand-in the chain ends here, also where it bites its tail."""
PAUSE: Final = (
    f"least({env.llm_pause_max_seconds}, {env.llm_pause_seconds}"
    " * power(2, greatest(0, least(30, {count} - 3)))) * interval '1 second'"
)
"""How long something is left out that has failed `count` times in a row, three or more."""

# `has_key`: whether the environment has the key of the provider that is made from it.
KNOWN: Final = f"""
provider_chain AS (
    SELECT id AS origin, id, fallback_provider_id AS next, 0 AS depth FROM providers
    UNION ALL
    SELECT c.origin, p.id, p.fallback_provider_id, c.depth + 1
    FROM provider_chain c JOIN providers p ON p.id = c.next WHERE c.depth < {MOST_STAND_INS}
), answering AS (
    SELECT DISTINCT c.origin FROM provider_chain c JOIN providers p USING (id)
    WHERE p.enabled AND (%(has_key)s OR NOT p.is_from_environment)
        AND coalesce(p.unhealthy_until <= now(), true)
), busy AS (
    SELECT agent_id, count(*) AS used FROM cycles
    WHERE {WORKING} AND agent_id IS NOT NULL GROUP BY agent_id
)"""  # noqa: S608  constants of this package


def standing(*, agent: str, capabilities: str, tools: str) -> str:
    """The CTEs of who could carry out a cycle, and how they stand: `standing`.

    The arguments are SQL: what the cycle asks for. A named agent is asked first, then its
    stand-ins in their order; otherwise everybody who is capable, then their stand-ins. Who stands
    in need not be capable: a person has said so.
    """
    return f"""
chain AS (
    SELECT a.id, 0 AS depth, a.fallback_agent_id AS next FROM agents a
    WHERE ({agent} IS NULL OR a.name = {agent})
        AND a.capabilities @> {capabilities} AND a.tools @> {tools}
    UNION ALL
    SELECT a.id, c.depth + 1, a.fallback_agent_id
    FROM chain c JOIN agents a ON a.id = c.next WHERE c.depth < {MOST_STAND_INS}
), standing AS (
    SELECT a.id, near.depth, coalesce(busy.used, 0) AS used, a.enabled,
        coalesce(a.unhealthy_until <= now(), true) AS is_well,
        answering.origin IS NOT NULL AS is_answered
    FROM (SELECT id, min(depth) AS depth FROM chain GROUP BY id) AS near
    JOIN agents a USING (id)
    LEFT JOIN busy ON busy.agent_id = a.id
    LEFT JOIN answering ON answering.origin = a.provider_id
)"""  # noqa: S608  composed of constants of this package only


GIVEN: Final = standing(
    agent="%(agent)s::text", capabilities="%(capabilities)s::text[]", tools="%(tools)s::text[]"
)
IS_UP: Final = "s.enabled AND s.is_well AND s.is_answered"
IS_FREE: Final = f"{IS_UP} AND s.used < a.max_concurrent"

# The row of the one that is chosen is locked: who takes a place of an agent holds it. Of those
# that are equally near, one that nobody else is at.
BEST: Final = f"""
WITH RECURSIVE {KNOWN}, {GIVEN}, free AS (
    SELECT s.* FROM standing s JOIN agents a USING (id) WHERE {IS_FREE}
)
SELECT a.id, a.unhealthy_until IS NOT NULL FROM free f JOIN agents a USING (id)
WHERE f.depth = (SELECT min(depth) FROM free)
ORDER BY f.used::float8 / a.max_concurrent, a.name LIMIT 1
FOR NO KEY UPDATE OF a {{waiting}}
"""  # noqa: S608  constants of this package
BEST_UNLOCKED: Final = BEST.format(waiting="SKIP LOCKED")
BEST_AWAITED: Final = BEST.format(waiting="")
CLAIM: Final = f"""
UPDATE cycles SET agent_id = %(agent_id)s, stage = %(stage)s, updated_at = now(),
    started_at = CASE tier WHEN '' THEN clock_timestamp() ELSE started_at END,
    deadline = coalesce(%(deadline)s::timestamptz, deadline)
WHERE id = %(cycle)s AND status = 'running' AND stage <> 'done'
    AND (SELECT count(*) FROM cycles o WHERE {WORKING} AND o.agent_id = %(agent_id)s)
        < (SELECT max_concurrent FROM agents WHERE id = %(agent_id)s)
RETURNING id
"""  # noqa: S608  constants of this package
STANDING: Final = f"""
WITH RECURSIVE {KNOWN}, {GIVEN}
SELECT a.id, a.name, s.depth, s.used, a.max_concurrent, {IS_UP}
FROM standing s JOIN agents a USING (id)
ORDER BY s.depth, s.used::float8 / a.max_concurrent, a.name LIMIT %(most)s
"""  # noqa: S608  constants of this package
# Of those that could carry it out, the first one that people have not switched off.
BY_RIGHTS_OF: Final = f"""
WITH RECURSIVE {KNOWN}, {GIVEN}
SELECT a.id FROM standing s JOIN agents a USING (id)
WHERE s.enabled ORDER BY s.depth, a.name LIMIT 1
"""  # noqa: S608  constants of this package
CYCLE: Final = """
SELECT status, stage, agent_id FROM cycles WHERE id = %(cycle)s
FOR NO KEY UPDATE SKIP LOCKED
"""
PAGE: Final = """
SELECT id FROM cycles
WHERE status = 'running' AND stage = 'wait' AND id > %(after)s
ORDER BY id LIMIT %(most)s
"""
LISTED: Final = "ARRAY(SELECT jsonb_array_elements_text(coalesce(config->'{name}', '[]')))"
# Of cycles that ask for the same, as many as there are places for them, and `spare` more.
SERVED: Final = f"""
WITH RECURSIVE {KNOWN}, page AS MATERIALIZED (
    SELECT c.id, config->>'agent' AS agent, {LISTED.format(name="capabilities")} AS capabilities,
        {LISTED.format(name="tools")} AS tools
    FROM unnest(%(page)s::uuid[]) AS i(id) JOIN cycles c USING (id)
    JOIN task_executions e ON e.id = c.execution_id
    CROSS JOIN LATERAL (SELECT e.snapshot->'task_config' AS config) AS snapshot
), kinds AS (
    SELECT k.agent, k.capabilities, k.tools, room.places
    FROM (SELECT DISTINCT agent, capabilities, tools FROM page) AS k
    CROSS JOIN LATERAL (
        WITH RECURSIVE {standing(agent="k.agent", capabilities="k.capabilities", tools="k.tools")}
        SELECT coalesce(sum(a.max_concurrent - s.used), 0) AS places
        FROM standing s JOIN agents a USING (id)
        WHERE {IS_FREE} AND (%(agent)s::uuid IS NULL OR a.id = %(agent)s)
    ) AS room
), in_line AS (
    SELECT page.*, row_number() OVER (
        PARTITION BY agent, capabilities, tools ORDER BY id
    ) AS nth FROM page
)
SELECT i.id FROM in_line i JOIN kinds k ON k.agent IS NOT DISTINCT FROM i.agent
    AND k.capabilities = i.capabilities AND k.tools = i.tools
WHERE k.places > 0 AND i.nth <= k.places + %(spare)s ORDER BY i.id LIMIT %(limit)s
"""  # noqa: S608  constants of this package
HAS_ROOM: Final = f"""
WITH RECURSIVE {KNOWN}
SELECT EXISTS (
    SELECT FROM agents a LEFT JOIN busy ON busy.agent_id = a.id
    JOIN answering ON answering.origin = a.provider_id
    WHERE a.enabled AND coalesce(a.unhealthy_until <= now(), true)
        AND coalesce(busy.used, 0) < a.max_concurrent
        AND (%(agent)s::uuid IS NULL OR a.id = %(agent)s)
)
"""  # noqa: S608  constants of this package
