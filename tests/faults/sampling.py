"""Limits, watched while everything runs: by SQL every 50 ms, and afterwards in the journal."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import psycopg

PERIOD_SECONDS: Final = 0.05
COUNT: Final = """
SELECT key, count(*) FROM (
    SELECT unnest(ARRAY['key:' || limit_key, 'schedule:' || schedule_id, 'queue:' || queue]) AS key
    FROM task_executions WHERE status IN ('queued', 'running')
) AS active WHERE key = ANY(%s) GROUP BY key
"""


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
