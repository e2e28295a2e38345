"""What an execution is born with beside its work: the keys it is limited and unique by, its end.

All come from its schedule and its parameters, and stay as they are when the schedule is edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from scheduler_app.limiting import key_templates
from scheduler_app.models import Schedule


@dataclass(frozen=True, slots=True)
class Labels:
    """Empty where the schedule says nothing; `expires_at` is when it is no longer to be started."""

    limit_key: str = ""
    unique_key: str = ""
    expires_at: datetime | None = None

    def expiring(self, run_ttl_ms: int | None, *, due_at: datetime) -> Labels:
        """The same of an execution that is due then."""
        return replace(self, expires_at=expires_at(run_ttl_ms, due_at=due_at))


def of(
    schedule: Schedule, parameters: Mapping[str, Any], *, due_at: datetime, unique_key: str = ""
) -> Labels:
    """The labels of an execution that somebody starts; raises MissingValue.

    A `unique_key` comes in place of that of the schedule's template. A fire by time has nobody to
    answer to: `of_fire` labels it.
    """
    words = (parameters, schedule.task_config)
    return Labels(
        key_templates.render(schedule.limit_key, *words),
        unique_key or key_templates.render(schedule.unique_key, *words),
        expires_at(schedule.run_ttl_ms, due_at=due_at),
    )


def of_fire(
    *,
    limit_key: str,
    unique_key: str,
    task_config: Mapping[str, Any],
    run_ttl_ms: int | None,
    due_at: datetime,
) -> Labels:
    """The labels of a fire by time: what its task's config has no value for is a `?` in a key."""
    return Labels(
        key_templates.render_known(limit_key, task_config),
        key_templates.render_known(unique_key, task_config),
        expires_at(run_ttl_ms, due_at=due_at),
    )


def expires_at(run_ttl_ms: int | None, *, due_at: datetime) -> datetime | None:
    """The instant from which it is not to be started any more."""
    return None if run_ttl_ms is None else due_at + timedelta(milliseconds=run_ttl_ms)
