"""camelCase at the door, snake_case behind it."""

from __future__ import annotations

import pytest
from django.http import QueryDict

from executions_app.api import names


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("taskType", "task_type"),
        ("task_type", "task_type"),
        ("baseMs", "base_ms"),
        ("usd1m", "usd1m"),
        ("X-Trace", "X-Trace"),
    ],
)
def test_a_name_has_one_spelling_behind_the_door(given: str, ours: str) -> None:
    assert names.snake(given) == ours


def test_names_are_ours_at_the_top_and_in_our_objects_only() -> None:
    body = {
        "taskConfig": {"timeoutMs": 1, "headers": {"traceId": "a"}},
        "retryPolicy": {"maxRetries": 1},
        "parameters": {"userName": "ada"},
    }

    assert names.snake_keys(body) == {
        "task_config": {"timeout_ms": 1, "headers": {"traceId": "a"}},
        "retry_policy": {"max_retries": 1},
        "parameters": {"userName": "ada"},
    }


def test_a_name_in_both_spellings_is_no_name() -> None:
    with pytest.raises(names.NamedTwice, match="task_type"):
        names.snake_keys({"taskType": 1, "task_type": 2})


def test_query_parameters_are_renamed_with_all_their_values() -> None:
    renamed = names.snake_query(QueryDict("scheduleId=1&schedule_id=2&status=a"))

    assert renamed.getlist("schedule_id") == ["1", "2"]
    assert renamed["status"] == "a"
