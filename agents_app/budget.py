"""What the calls of models in a cycle may use: set aside before a call, settled after it.

A reservation counts with all it asked for until it is settled with what was used, so calls under
way at the same time cannot use together what each of them might use alone. It is for one request:
what has used some and is made again sets aside anew. One that is never settled, because its process
died, keeps counting at its maximum. Days are those of UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from agents_app import connections
from agents_app.agent_config import Budget
from agents_app.clients import llm
from agents_app.clients.llm_question import Answer, Of, Question
from agents_app.clients.llm_rows import cost
from config.env import env
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import holding, ids, prepared

LOCK_SPACE: Final = 0x4255  # advisory locks of scopes
MARGIN: Final = timedelta(minutes=5)
GRACE_SECONDS: Final = 60.0
MOST_AT_ONCE: Final = 500
LONGEST_CYCLE: Final = timedelta(days=8)
UUID_OF_TIME: Final = 7

REMEDIES: Final = {
    "cycle": "raise budget.tokens_per_cycle of the schedule, or give it less to do",
    "schedule": "raise budget.usd_per_day of the schedule, or wait until tomorrow (UTC)",
    "agent": "raise LLM_AGENT_TOKENS_PER_DAY, or wait until tomorrow (UTC)",
    "system": "raise LLM_TOKENS_PER_DAY or LLM_USD_PER_DAY, or wait until tomorrow (UTC)",
}

# Rows are found from the first id that the scope can have: ids rise with time.
USED: Final = """
    SELECT coalesce(sum(r.tokens), 0), coalesce(sum(r.usd), 0)
    FROM token_reservations AS r WHERE r.id >= s.since AND r.scopes @> ARRAY[s.scope]
"""
RESERVE: Final = f"""
    INSERT INTO token_reservations (scopes, tokens, usd, is_estimated, expires_at, created_at)
    SELECT %(all)s::text[], %(tokens)s, %(usd)s, false,
           now() + make_interval(secs => %(seconds)s), now()
    WHERE NOT EXISTS (
        SELECT FROM unnest(%(scopes)s::text[], %(since)s::uuid[], %(most_tokens)s::bigint[],
                           %(most_usd)s::numeric[]) AS s (scope, since, most_tokens, most_usd)
        CROSS JOIN LATERAL ({USED}) AS used (tokens, usd)
        WHERE used.tokens + %(tokens)s > s.most_tokens OR used.usd + %(usd)s > s.most_usd
    )
    RETURNING id
"""  # noqa: S608  constants
USE: Final = f"""
    SELECT s.scope, used.tokens, used.usd
    FROM unnest(%s::text[], %s::uuid[]) AS s (scope, since)
    CROSS JOIN LATERAL ({USED}) AS used (tokens, usd)
"""  # noqa: S608  constants
SETTLE: Final = """
    UPDATE token_reservations SET tokens = %s, usd = %s, settled_at = now(), is_estimated = false
    WHERE id = %s AND (settled_at IS NULL OR is_estimated)
"""
CLOSE_EXPIRED: Final = """
    UPDATE token_reservations SET settled_at = now(), is_estimated = true
    WHERE id IN (
        SELECT id FROM token_reservations WHERE settled_at IS NULL AND expires_at < now()
        ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    )
"""


class BudgetSpent(HandlerError):
    """What may be used in a scope does not suffice for the call, which was not made."""

    def __init__(self, scope: str, message: str) -> None:
        todo = REMEDIES.get(scope.partition(":")[0], "raise the limit")
        super().__init__(f"{message}; {todo}", error_class=ErrorClass.PERMANENT, scope=scope)
        self.scope = scope


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that may be used in a scope; None: it is counted and not limited.

    `since`: no reservation of the scope is older.
    """

    scope: str
    since: datetime
    tokens: int | None = None
    usd: Decimal | None = None

    @property
    def is_limited(self) -> bool:
        return self.tokens is not None or self.usd is not None


class Used(NamedTuple):
    """What a scope has used, with what is set aside in it."""

    tokens: int
    usd: Decimal


def limits_of(of: Of, budget: Budget, *, now: datetime) -> tuple[Limit, ...]:
    """Every scope that a call of these counts in, with the limits of its schedule and of all."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    day = today.date().isoformat()
    limits = [
        Limit(f"system:{day}", today, env.llm_tokens_per_day or None, env.llm_usd_per_day or None)
    ]
    if of.agent_id is not None:
        most = env.llm_agent_tokens_per_day or None
        limits.append(Limit(f"agent:{of.agent_id}:{day}", today, most))
    if of.schedule_id is not None:
        scope = f"schedule:{of.schedule_id}:{day}"
        limits.append(Limit(scope, today, usd=budget.usd_per_day))
    if of.cycle_id is not None:
        limits.append(
            Limit(f"cycle:{of.cycle_id}", _since(of.cycle_id, now), budget.tokens_per_cycle)
        )
    return tuple(limits)


def _since(cycle_id: UUID, now: datetime) -> datetime:
    """No call of a cycle is older than the cycle, whose id says when it began."""
    return ids.instant(cycle_id) if cycle_id.version == UUID_OF_TIME else now - LONGEST_CYCLE


def reserve(
    limits: Sequence[Limit], *, tokens: int, usd: Decimal = Decimal(0), seconds: float = 120.0
) -> UUID:
    """Set so much aside in all of these scopes, for `seconds`; raises BudgetSpent.

    Committed at once: nothing is held while a model is asked.
    """
    narrow = [one for one in limits if one.is_limited]
    with transaction.atomic() if narrow else nullcontext():
        if narrow:
            holding.lock(LOCK_SPACE, sorted({_number(one.scope) for one in narrow}))
        words = _parameters(limits, narrow, tokens, usd, seconds)
        row = prepared.execute(RESERVE, words).fetchone()
        if row is None:
            raise _spent(narrow, tokens=tokens, usd=usd)
    reservation: UUID = row[0]
    return reservation


def _parameters(
    limits: Sequence[Limit], narrow: Sequence[Limit], tokens: int, usd: Decimal, seconds: float
) -> dict[str, Any]:
    return {
        "all": [one.scope for one in limits],
        "tokens": tokens,
        "usd": usd,
        "seconds": seconds,
        "scopes": [one.scope for one in narrow],
        "since": [_first_id(one) for one in narrow],
        "most_tokens": [one.tokens for one in narrow],
        "most_usd": [one.usd for one in narrow],
    }


def settle(reservation_id: UUID, *, tokens: int, usd: Decimal = Decimal(0)) -> bool:
    """Say what was used; also of one that has expired since. False if that is said already."""
    is_first = prepared.execute(SETTLE, [tokens, usd, reservation_id]).rowcount > 0
    connections.let_go()
    return is_first


def close_expired() -> int:
    """Mark those that nobody settled in time as estimated: they count at their maximum for good."""
    with connection.cursor() as cursor:
        cursor.execute(CLOSE_EXPIRED, [MOST_AT_ONCE])
        return int(cursor.rowcount)


def used(limits: Sequence[Limit]) -> dict[str, Used]:
    """What each scope has used, by scope."""
    with connection.cursor() as cursor:
        cursor.execute(USE, [[one.scope for one in limits], [_first_id(one) for one in limits]])
        return {scope: Used(int(tokens), Decimal(usd)) for scope, tokens, usd in cursor.fetchall()}


class Held:
    """Room for one request under way: settle it, or it counts at its maximum."""

    def __init__(
        self, limits: Sequence[Limit], *, tokens: int, usd: Decimal, seconds: float
    ) -> None:
        self._reserve = partial(reserve, limits, tokens=tokens, usd=usd, seconds=seconds)
        self._settled = Used(0, Decimal(0))
        self.id = self._reserve()

    def settle(self, *, tokens: int, usd: Decimal) -> bool:
        """`tokens` and `usd`: what all requests have used, those before this one included."""
        before = self._settled
        return settle(self.id, tokens=tokens - before.tokens, usd=usd - before.usd)

    def another(self, tokens: int, usd: Decimal) -> bool:
        """Whether there is room for one more, once those before have used so much."""
        self.settle(tokens=tokens, usd=usd)
        self._settled = Used(tokens, usd)
        try:
            self.id = self._reserve()
        except BudgetSpent:
            return False
        return True


@contextmanager
def reserved(
    limits: Sequence[Limit], *, tokens: int, usd: Decimal, seconds: float
) -> Iterator[Held]:
    """Set aside for the block; a ModelError that leaves it settles what its calls have used."""
    with _settled(Held(limits, tokens=tokens, usd=usd, seconds=seconds)) as held:
        yield held


@contextmanager
def _settled(held: Held) -> Iterator[Held]:
    try:
        yield held
    except llm.ModelError as error:
        held.settle(tokens=error.spent_tokens, usd=error.spent_usd)
        raise


def asking(
    limits: Sequence[Limit], *, ask: Callable[[Question], Answer] = llm.ask
) -> Callable[[Question], Answer]:
    """`ask` within these limits: it raises BudgetSpent instead of a request that might exceed them.

    Where they have no room for the longest answer, a shorter one is asked for, if that may do.
    """

    def ask_within(question: Question) -> Answer:
        llm.preflight(question.provider, model=question.model)
        asked, room = _room_for(question, limits)
        with _settled(room) as held:
            answer = ask(replace(asked, before_another=held.another))
            held.settle(tokens=answer.spent_tokens, usd=answer.spent_usd)
        return answer

    return ask_within


def _room_for(question: Question, limits: Sequence[Limit]) -> tuple[Question, Held]:
    try:
        return question, _held(question, limits)
    except BudgetSpent:
        if not 0 < question.enough_tokens < question.max_tokens:
            raise
    shorter = replace(question, max_tokens=question.enough_tokens)
    return shorter, _held(shorter, limits)


def _held(question: Question, limits: Sequence[Limit]) -> Held:
    tokens, said = llm.most_tokens(question), question.max_tokens
    usd = cost(question.provider, question.model, prompt=tokens - said, completion=said)
    seconds = env.llm_timeout_seconds * (llm.MOST_RETRIES + 1) + GRACE_SECONDS
    return Held(limits, tokens=tokens, usd=usd, seconds=seconds)


def _spent(narrow: Sequence[Limit], *, tokens: int, usd: Decimal) -> BudgetSpent:
    now_used = used(narrow)
    for limit in narrow:
        so_far = now_used[limit.scope]
        if limit.tokens is not None and so_far.tokens + tokens > limit.tokens:
            message = f"{so_far.tokens} of {limit.tokens} tokens of {limit.scope!r} are used"
            return BudgetSpent(limit.scope, f"{message}, and this call may need {tokens}")
        if limit.usd is not None and so_far.usd + usd > limit.usd:
            message = f"{so_far.usd:f} of {limit.usd:f} USD of {limit.scope!r} are used"
            return BudgetSpent(limit.scope, f"{message}, and this call may cost {usd:f}")
    return BudgetSpent(narrow[0].scope, f"The limit of {narrow[0].scope!r} is reached")


def _first_id(limit: Limit) -> UUID:
    return ids.floor(limit.since - MARGIN)


def _number(scope: str) -> int:
    digest = hashlib.blake2b(scope.encode(), digest_size=4).digest()
    return int.from_bytes(digest, signed=True)
