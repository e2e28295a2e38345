"""What is watched while everything runs: limits, open transactions, waits for locks, memory."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import psutil
import psycopg

PERIOD_SECONDS: Final = 0.05
COUNT: Final = """
SELECT key, count(*) FROM (
    SELECT unnest(ARRAY['key:' || limit_key, 'schedule:' || schedule_id, 'queue:' || queue]) AS key
    FROM task_executions WHERE status IN ('queued', 'running')
) AS active WHERE key = ANY(%s) GROUP BY key
"""

LOOK_SECONDS: Final = 0.1
# Three seconds at least: shorter than what tests let a handler, a call or Redis take, longer than
# any process is held up. In looks: while the whole machine stands still, nobody looks either.
MOST_LOOKS: Final = 30
# PostgreSQL's own functions by name: a test may have given the database a clock of its own.
OPEN: Final = """
SELECT pid, xact_start, state_change, application_name, query FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'cadenza-%'
  AND state LIKE 'idle in transaction%'
"""
WAITING: Final = """
SELECT coalesce(max(extract(epoch FROM pg_catalog.clock_timestamp() - l.waitstart)), 0)::float8
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.datname = current_database() AND NOT l.granted
"""


class Watch:
    """A thread that looks at the sessions of the product, over and over, until it is ended.

    A transaction in which nothing is asked for some time is held over something else: a call, a
    subprocess, a handler. It does not count while `is_disturbed`: a process that is paused cannot
    end what it began. A server that is away is asked again when it is back.
    """

    def __init__(self, database_url: str, *, is_disturbed: Callable[[], bool]) -> None:
        self._url = database_url
        self._is_disturbed = is_disturbed
        self._is_over = threading.Event()
        self._seen: Counter[tuple[Any, ...]] = Counter()  # in so many looks in a row
        self._held_open: dict[tuple[Any, ...], str] = {}
        self.longest_waits: list[float] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        self._thread.join()

    def held_open(self) -> list[str]:
        """The transactions that were held open over something else."""
        return list(self._held_open.values())

    def share_of_waits(self, longer_than: float) -> float:
        """In which share of all looks somebody had waited for a lock for longer than that."""
        long = sum(one > longer_than for one in self.longest_waits)
        return long / max(1, len(self.longest_waits))

    def _watch(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=4) as connection:
                    while not self._is_over.wait(LOOK_SECONDS):
                        self._look(connection)
            except psycopg.Error:
                self._seen.clear()

    def _look(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        waiting = connection.execute(WAITING).fetchone()
        assert waiting is not None
        self.longest_waits.append(waiting[0])
        rows = {row[:3]: row[3:] for row in connection.execute(OPEN).fetchall()}
        self._seen = Counter({key: self._seen[key] + 1 for key in rows})
        long = [key for key, times in self._seen.items() if times > MOST_LOOKS]
        if long and self._is_disturbed():
            self._seen.clear()
            return
        for key in long:
            name, query = rows[key]
            self._held_open[key] = f"{name} held a transaction open after {query[:200]!r}"


class Sampler:
    """A thread with a connection of its own; inside `with` it counts what is queued or running."""

    def __init__(self, database_url: str, limits: Mapping[str, int]) -> None:
        self._url = database_url
        self._limits = limits
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.samples = 0
        self.most: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._is_over.wait(PERIOD_SECONDS):
                rows = connection.execute(COUNT, [list(self._limits)]).fetchall()
                self.samples += 1
                for key, count in rows:
                    self.most[key] = max(self.most[key], count)

    def exceeded(self) -> list[str]:
        """The limits that more than they admit were seen under."""
        return [
            f"{key}: {self.most[key]} at once, limit {limit}"
            for key, limit in self._limits.items()
            if self.most[key] > limit
        ]


def most_at_once(entries: Iterable[Mapping[str, Any]], key_of: Mapping[str, str]) -> Counter[str]:
    """How many handlers ran at once for each key, as they wrote down themselves.

    `key_of` says the key of an execution; others are left out.
    """
    running: defaultdict[str, int] = defaultdict(int)
    most: Counter[str] = Counter()
    for entry in sorted(entries, key=lambda one: one["at"]):
        key = key_of.get(entry["execution"])
        if key is not None:
            running[key] += 1 if entry["what"] == "began" else -1
            most[key] = max(most[key], running[key])
    return most


class Fattest:
    """The most memory that a process held while it was watched, beyond what it had before."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._process.memory_info().rss
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.growth = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.growth = max(self.growth, self._process.memory_info().rss - self._before)
