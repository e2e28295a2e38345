"""How the endpoints that executions call are doing: what Redis knows now beside what is stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from errors_app.breakers import store
from errors_app.breakers.store import Standing, Store, StoreAway
from errors_app.models import Breaker, BreakerTransition
from executions_app import clock, ids
from executions_app.states import BreakerStatus

MOST_TRANSITIONS: Final = 5
LATELY: Final = timedelta(days=1)
MOST_READ: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One endpoint. `is_live`: Redis was asked; else the state is that of the last transition.

    The figures are those of the window: `success_rate` from 0 to 1, `latency_ms` a mean; both None
    without calls, all None where Redis was not asked.
    """

    id: UUID
    key: str
    state: str
    since: datetime | None
    next_probe_at: datetime | None
    reason: str
    is_live: bool
    calls: int | None
    failures: int | None
    failures_in_row: int | None
    success_rate: float | None
    latency_ms: int | None
    opened_count: int
    seen_at: datetime
    transitions: list[BreakerTransition]


def of(rows: Sequence[Breaker]) -> list[Health]:
    """How these stand, in the same order, with their newest transitions of the last day."""
    live = _live([one.key for one in rows])
    recent = _recent([one.key for one in rows])
    return [_health(one, (live or {}).get(one.key), recent[one.key]) for one in rows]


def _live(keys: Sequence[str]) -> dict[str, Standing] | None:
    try:
        return Store(store.client(), store.rules()).look(keys)
    except StoreAway:
        return None


def _recent(keys: Sequence[str]) -> dict[str, list[BreakerTransition]]:
    found: dict[str, list[BreakerTransition]] = defaultdict(list)
    since = ids.floor(clock.now() - LATELY)
    rows = BreakerTransition.objects.filter(key__in=keys, id__gte=since).order_by("-id")
    for one in sorted(rows[:MOST_READ], key=lambda one: one.at, reverse=True):
        if len(found[one.key]) < MOST_TRANSITIONS:
            found[one.key].append(one)
    return found


def _health(row: Breaker, standing: Standing | None, recent: list[BreakerTransition]) -> Health:
    calls = standing.calls if standing else None
    is_stored = standing is None or (standing.state == row.state == BreakerStatus.CLOSED)
    return Health(
        id=row.id,
        key=row.key,
        state=row.state if standing is None else standing.state.value,
        since=row.since if is_stored or standing is None else standing.since,
        next_probe_at=row.next_probe_at if standing is None else standing.next_probe_at,
        reason=row.reason if is_stored or standing is None else standing.reason,
        is_live=standing is not None,
        calls=calls,
        failures=standing.failures if standing else None,
        failures_in_row=standing.streak if standing else None,
        success_rate=round(1 - standing.failures / calls, 4) if standing and calls else None,
        latency_ms=round(standing.latency_ms / calls) if standing and calls else None,
        opened_count=row.opened_count,
        seen_at=row.seen_at,
        transitions=recent,
    )
