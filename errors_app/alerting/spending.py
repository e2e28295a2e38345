"""Looks at what AI cycles of executions used: far more tokens than the cycles before them.

Cycles belong to the app above, so they are read by SQL, and their schedule by its row.
"""

from __future__ import annotations

from typing import Final

from errors_app.alerting.ended import since, whose
from errors_app.alerting.findings import Finding, Scope, ask
from errors_app.alerting.kinds import TokenSpike

# Judged is the newest ended cycle that asked a model: one without a model says nothing, neither
# about what is usual nor that a spike is over. What fires is asked about until the next one.
SPIKES: Final = """
WITH lately AS MATERIALIZED (
    SELECT unnest(%(firing_ids)s::uuid[]) AS schedule_id
    UNION
    SELECT schedule_id FROM (
        SELECT schedule_id FROM cycles
        WHERE id >= %(since)s AND status IN ({ended}) AND schedule_id IS NOT NULL AND {scope}
        ORDER BY id DESC LIMIT 5000
    ) AS newest
)
SELECT s.id, s.owner_id, s.name, newest.id, newest.tokens, usual.tokens
FROM lately JOIN task_schedules s ON s.id = lately.schedule_id AND s.enabled
CROSS JOIN LATERAL (
    SELECT id, tokens FROM (
        SELECT id, prompt_tokens + completion_tokens AS tokens FROM cycles c
        WHERE c.schedule_id = s.id AND c.status IN ({ended})
        ORDER BY c.id DESC LIMIT {looked}
    ) AS ended WHERE tokens > 0 ORDER BY id DESC LIMIT 1
) AS newest
CROSS JOIN LATERAL (
    SELECT count(*) AS cycles, avg(tokens) AS tokens FROM (
        SELECT prompt_tokens + completion_tokens AS tokens FROM cycles c
        WHERE c.schedule_id = s.id AND c.status IN ({ended}) AND c.id < newest.id
        ORDER BY c.id DESC LIMIT %(trail)s
    ) AS earlier WHERE tokens > 0
) AS usual
WHERE newest.tokens >= %(least)s AND usual.cycles >= %(min_cycles)s
    AND newest.tokens > %(factor)s * usual.tokens
    AND (newest.id >= %(since)s OR s.id = ANY(%(firing_ids)s::uuid[]))
ORDER BY s.id = ANY(%(firing_ids)s::uuid[]) DESC, s.id LIMIT {most}
"""
ENDED: Final = "'completed', 'failed', 'cancelled'"
LOOKED_BACK: Final = 50  # cycles without a model before one is found that asked one


def token_spike(wanted: TokenSpike, scope: Scope) -> list[Finding]:
    """Enabled schedules whose newest cycle used far more tokens than those before it."""
    rows = ask(
        SPIKES.format(scope=scope.condition(), ended=ENDED, looked=LOOKED_BACK, most=scope.most),
        {
            **scope.values,
            "since": since(wanted.window_ms),
            "trail": wanted.trail,
            "least": wanted.min_tokens,
            "min_cycles": wanted.min_cycles,
            "factor": wanted.factor,
        },
    )
    return [
        Finding(
            key=str(schedule_id),
            message=f"{whose(name)}: a cycle used {tokens} tokens, {tokens / float(usual):.1f} "
            f"times the usual {usual:.0f}",
            details={"cycle_id": str(cycle_id), "tokens": tokens, "usual": round(usual)},
            schedule_id=schedule_id,
            owner_id=owner_id,
        )
        for schedule_id, owner_id, name, cycle_id, tokens, usual in rows
    ]
