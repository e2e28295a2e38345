"""How many starts a rate still allows: one bucket of tokens per key, in PostgreSQL.

A bucket holds at most `count` tokens and refills evenly, `count` in a period. Both statements run
in the transaction that has locked the key, by PostgreSQL's clock, so any number of dispatchers on
any number of machines draw from the same bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from executions_app import prepared
from scheduler_app.limiting.limits_in_force import Rate

ALMOST: Final = 1e-9  # of a token: what refilling loses in the last binary digit
# A transaction that began before the last debit sees no time pass, never a negative one.
TOKENS: Final = """
SELECT k.key, least(k.count, coalesce(
    b.tokens + k.count * 1000.0 / k.period_ms
        * greatest(0, extract(epoch FROM now() - b.refreshed_at)::float8),
    k.count
))::float8
FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS k(key, count, period_ms)
LEFT JOIN rate_buckets b ON b.key = k.key
"""
DEBIT: Final = """
INSERT INTO rate_buckets AS b (key, tokens, refreshed_at)
SELECT key, tokens, now() FROM unnest(%s::text[], %s::float8[]) AS k(key, tokens) ORDER BY key
ON CONFLICT (key) DO UPDATE SET tokens = excluded.tokens,
    refreshed_at = greatest(b.refreshed_at, excluded.refreshed_at)
"""
FORGET_IDLE: Final = """
DELETE FROM rate_buckets WHERE key = ANY(ARRAY(
    SELECT key FROM rate_buckets WHERE refreshed_at < now() - interval '90 days'
    ORDER BY refreshed_at LIMIT %s
))
"""


def tokens(rates: Mapping[str, Rate]) -> dict[str, float]:
    """What is left in the bucket of each key now; one that nobody drew from is full."""
    counts = [one.count for one in rates.values()]
    periods = [one.period_ms for one in rates.values()]
    return dict(prepared.execute(TOKENS, [list(rates), counts, periods]).fetchall())


def whole(left: float) -> int:
    """How many starts that is."""
    return int(left + ALMOST)


def debit(left: Mapping[str, float]) -> None:
    """Store what is left in each bucket after this batch."""
    if left:
        prepared.execute(DEBIT, [list(left), list(left.values())])


def forget_idle(*, limit: int) -> int:
    """Remove buckets that nobody has drawn from for months: they are full; answers how many."""
    return int(prepared.execute(FORGET_IDLE, [limit]).rowcount)
