"""What is said about a schedule is told in words that a person understands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler_app import policy_words
from scheduler_app.models import BusinessCalendar, Schedule


def schedule(**columns: Any) -> Schedule:
    timed = {"schedule_type": "interval", "schedule_config": {"interval_ms": 60_000}}
    return Schedule(**{**timed, **columns})


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, "every minute"),
        ({"trigger_type": "manual"}, "only by hand"),
        (
            {"trigger_type": "event_driven", "trigger_config": {"source": "webhook"}},
            "at every signed webhook",
        ),
        (
            {
                "trigger_type": "event_driven",
                "trigger_config": {"source": "internal", "event": "execution:failed"},
            },
            "at every execution:failed",
        ),
        (
            {"trigger_type": "dependent", "trigger_config": {"upstreams": ["1"], "on": "end"}},
            "when 'nightly' has ended",
        ),
        (
            {
                "trigger_type": "dependent",
                "trigger_config": {"upstreams": ["1", "2"], "on": "success", "mode": "all"},
            },
            "when each of 'nightly', 'weekly' has succeeded",
        ),
    ],
    ids=str,
)
def test_what_starts_a_schedule(columns: dict[str, Any], words: str) -> None:
    told = policy_words.starts(schedule(**columns), {"1": "nightly", "2": "weekly"})

    assert told.lower().startswith(words.lower())


def test_upstreams_without_names_are_counted() -> None:
    config = {"upstreams": ["1", "2"], "on": "failure", "mode": "any"}
    dependent = schedule(trigger_type="dependent", trigger_config=config)

    assert policy_words.starts(dependent) == "when one of 2 schedules has failed"


def test_a_schedule_of_defaults_has_only_its_policies() -> None:
    assert dict(policy_words.bounds(schedule())) == {
        "overlap": "a fire is skipped while an execution has not ended",
        "missed fires": "the newest runs",
    }


def test_everything_that_bounds_a_schedule_is_told() -> None:
    told = dict(
        policy_words.bounds(
            schedule(
                overlap_policy="buffer_all",
                buffer_limit=7,
                catchup_policy="all",
                catchup_limit=3,
                catchup_window_ms=3_600_000,
                start_at=datetime(2026, 12, 1, tzinfo=UTC),
                max_runs=5,
                fired_count=2,
                execution_window={"hours": ["09:00-17:00"], "weekdays": ["mon", "fri"]},
                calendar=BusinessCalendar(name="office"),
                outside_window="next_opening",
                jitter_ms=1000,
                spread_ms=59_000,
                run_ttl_ms=600_000,
                pause_after_failures=4,
                max_concurrent=2,
                limit_key="tenant:{tenant}",
                unique_key="order:{order}",
                unique_mode="debounce",
                unique_for_ms=5000,
            )
        )
    )

    assert told == {
        "overlap": "up to 7 wait until the others have ended",
        "missed fires": "the newest 3 run, if not older than 1 h",
        "bounds": "from 2026-12-01T00:00:00Z, 5 runs at most, 2 made",
        "window": "mon, fri 09:00-17:00 on the days of 'office'; "
        "else it waits for the next opening",
        "delay": "starts up to 1 min later",
        "dropped": "if it has not started 10 min after it was due",
        "pauses itself": "after 4 failures in a row",
        "at once": "at most 2",
        "limited by": "tenant:{tenant}",
        "unique": "order:{order}: a new one puts the waiting one off by 5 s",
    }
