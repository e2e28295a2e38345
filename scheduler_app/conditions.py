"""What of a schedule must be looked at when it fires, beyond its rule: bounds, windows, delays.

A plain schedule has none of this, and nothing is read for it. Of the others a batch reads one text
per row, and each calendar once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from scheduler_app import coming_rows, next_run, windows
from scheduler_app.models import BusinessCalendar
from scheduler_app.policies import OutsideWindow
from scheduler_app.windows import Calendar, Openings

# Of the schedule `t`; null of a plain one. The task's settings are read where a template may
# name one of them.
COLUMN: Final = """CASE WHEN NOT t.is_plain THEN jsonb_build_object(
    'end_at', t.end_at, 'runs_left', t.max_runs - t.fired_count, 'window', t.execution_window,
    'calendar', t.calendar_id, 'outside', t.outside_window, 'jitter_ms', t.jitter_ms,
    'spread_ms', t.spread_ms, 'buffer_limit', t.buffer_limit, 'run_ttl_ms', t.run_ttl_ms,
    'max_concurrent', t.max_concurrent, 'limit_key', t.limit_key, 'unique_key', t.unique_key,
    'unique_mode', t.unique_mode, 'unique_for_ms', t.unique_for_ms,
    'task_config', CASE WHEN strpos(t.limit_key || t.unique_key, chr(123)) > 0
        THEN t.task_config END)::text END"""
REMEMBERED: Final = 4_096


@dataclass(frozen=True, slots=True)
class Conditions:
    """All that a schedule which is not plain may say; the defaults are those of a plain one.

    `runs_left` is what max_runs leaves; templates stand as they were written.
    """

    end_at: datetime | None = None
    runs_left: int | None = None
    openings: Openings | None = None
    outside: OutsideWindow = OutsideWindow.SKIP
    jitter_ms: int = 0
    spread_ms: int = 0
    buffer_limit: int = 100
    run_ttl_ms: int | None = None
    max_concurrent: int | None = None
    limit_key: str = ""
    unique_key: str = ""
    unique_mode: str = ""
    unique_for_ms: int | None = None
    task_config: Mapping[str, Any] = field(default_factory=dict)


PLAIN: Final = Conditions()


class Reader:
    """Reads the conditions of one batch, and the calendars that they name in one query."""

    def __init__(self, texts: Iterable[str | None]) -> None:
        named = {_words(one)["calendar"] for one in texts if one is not None}
        wanted = [UUID(one) for one in named if one is not None]
        rows = BusinessCalendar.objects.in_bulk(wanted) if wanted else {}
        self._rows = {str(key): row for key, row in rows.items()}

    def read(self, text: str | None, *, timezone: str) -> Conditions:
        """Raises InvalidTriggerConfigError where the stored words make no sense."""
        if text is None:
            return PLAIN
        words = _words(text)
        end_at, calendar = words["end_at"], words["calendar"]
        return Conditions(
            end_at=None if end_at is None else datetime.fromisoformat(end_at),
            runs_left=words["runs_left"],
            openings=self._openings(words, timezone, calendar),
            outside=OutsideWindow(words["outside"]),
            jitter_ms=words["jitter_ms"],
            spread_ms=words["spread_ms"],
            buffer_limit=words["buffer_limit"],
            run_ttl_ms=words["run_ttl_ms"],
            max_concurrent=words["max_concurrent"],
            limit_key=words["limit_key"],
            unique_key=words["unique_key"],
            unique_mode=words["unique_mode"],
            unique_for_ms=words["unique_for_ms"],
            task_config=words["task_config"] or {},
        )

    def _openings(
        self, words: Mapping[str, Any], timezone: str, calendar_id: str | None
    ) -> Openings | None:
        window = windows.parse_window(words["window"], zone=next_run.zone(timezone))
        calendar: Calendar | None = None
        if calendar_id is not None:
            calendar = coming_rows.calendar(self._rows[calendar_id])
        return None if window is None and calendar is None else Openings(window, calendar)


@lru_cache(REMEMBERED)
def _words(text: str) -> Mapping[str, Any]:
    words: Mapping[str, Any] = json.loads(text)
    return words
