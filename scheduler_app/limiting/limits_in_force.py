"""Which limits hold now, and which of them an execution is under.

The table of limits is small and read at most once a second, so that a change made anywhere holds
from the next dispatch on and work without limits pays nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from config.env import env
from executions_app import prepared
from executions_app.holding import Limited

READ: Final = "SELECT key, max_concurrent, rate_count, rate_period_ms FROM limits"
OWN: Final = """
SELECT id::text, max_concurrent FROM task_schedules
WHERE id = ANY(%s::uuid[]) AND max_concurrent IS NOT NULL
"""
HAS_OWN: Final = """EXISTS (
    SELECT FROM task_schedules s WHERE s.id = e.schedule_id AND s.max_concurrent IS NOT NULL
)"""
FRESH_SECONDS: Final = 1.0
EVERY: Final = "*"
AGENTS: Final = "task:agent"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` starts at once, then evenly `count` in `period_ms`."""

    count: int
    period_ms: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one key may have: so many at once, so many in a time; None is without a bound."""

    key: str
    most: int | None = None
    rate: Rate | None = None


class Limitable(Protocol):
    """What decides which limits an execution is under."""

    @property
    def queue(self) -> str: ...
    @property
    def limit_key(self) -> str: ...
    @property
    def schedule_id(self) -> str | None: ...
    @property
    def task_type(self) -> str: ...
    @property
    def agent(self) -> str | None: ...


class Properties(NamedTuple):
    """The same of an execution that is only looked at."""

    queue: str
    limit_key: str
    schedule_id: str | None
    task_type: str
    agent: str | None


@dataclass(frozen=True, slots=True)
class InForce:
    """The limits of one moment, by key; those of keys ending in `*` by what stands before it."""

    by_key: Mapping[str, Allowance]
    by_prefix: Mapping[str, Allowance] = field(default_factory=dict)

    def named(self, key: str) -> Allowance | None:
        """The limit of exactly this key, else that of the longest beginning with a `*`."""
        if key in self.by_key:
            return self.by_key[key]
        fitting = [prefix for prefix in self.by_prefix if key.startswith(prefix)]
        if not fitting:
            return None
        general = self.by_prefix[max(fitting, key=len)]
        return Allowance(key, general.most, general.rate)

    def over(self, one: Limitable, *, own: int | None) -> list[Allowance]:
        """The limits that an execution is under, the closest first; `own` is its schedule's."""
        keys = [f"key:{one.limit_key}"] if one.limit_key else []
        if one.task_type == "agent" and one.agent:
            keys.append(f"agent:{one.agent}")
        keys += [f"task:{one.task_type}", f"queue:{one.queue}", "system"]
        found = [found for key in keys if (found := self.named(key)) is not None]
        if own is not None:
            found.insert(0, Allowance(f"schedule:{one.schedule_id}", own))
        return found

    @property
    def limited(self) -> Limited:
        """The same as a question to the rows."""
        agents = [AGENTS.partition(":")[2]] if self._has("agent") else []
        return Limited(
            are_all=self._are_all,
            queues=self._values("queue"),
            task_types=[*self._values("task"), *agents],
            are_keyed=self._has("key"),
            own=HAS_OWN,
        )

    def is_over(self, *, task_type: str, queue: str, limit_key: str) -> bool:
        """True if anything with these properties is under a limit of the table."""
        return (
            self._are_all
            or f"queue:{queue}" in self.by_key
            or f"task:{task_type}" in self.by_key
            or (task_type == "agent" and self._has("agent"))
            or (limit_key != "" and self._has("key"))
        )

    @property
    def _are_all(self) -> bool:
        general = ("key:", "agent:")  # of those few can tell whom they are about
        return "system" in self.by_key or not all(
            prefix.startswith(general) for prefix in self.by_prefix
        )

    def _has(self, kind: str) -> bool:
        keys = (*self.by_key, *self.by_prefix)
        return any(key.startswith(f"{kind}:") for key in keys)

    def _values(self, kind: str) -> list[str]:
        found = (key.partition(":") for key in self.by_key)
        return [value for name, _, value in found if name == kind]


def composed(rows: Sequence[tuple[str, int | None, int | None, int | None]]) -> InForce:
    """The limits of these rows (key, at once, count, period), and of agents if none is given."""
    by_key = {AGENTS: Allowance(AGENTS, env.scheduler_max_concurrent)}
    by_prefix: dict[str, Allowance] = {}
    for key, most, count, period_ms in rows:
        rate = None if count is None or period_ms is None else Rate(count, period_ms)
        if key.endswith(EVERY):
            by_prefix[key.removesuffix(EVERY)] = Allowance(key, most, rate)
        else:
            by_key[key] = Allowance(key, most, rate)
    return InForce(by_key, by_prefix)


class _Known:
    limits: InForce | None = None
    read_at: float = float("-inf")


def now() -> InForce:
    """The limits that hold, at most a second old."""
    known = _Known.limits
    is_fresh = time.monotonic() - _Known.read_at < FRESH_SECONDS
    return known if known is not None and is_fresh else fresh()


def fresh() -> InForce:
    """The limits that hold at this instant: for what is under one, as far as is known."""
    known = composed(prepared.execute(READ).fetchall())
    _Known.limits, _Known.read_at = known, time.monotonic()
    return known


def forget() -> None:
    """Read them again when next asked: somebody in this process has changed them."""
    _Known.limits = None


def own_limits(schedule_ids: Sequence[str]) -> dict[str, int]:
    """How many executions at once those of these schedules allow that limit themselves."""
    if not schedule_ids:
        return {}
    return dict(prepared.execute(OWN, [list(schedule_ids)]).fetchall())
