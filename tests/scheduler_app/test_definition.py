"""What a person may say about a schedule, and which field is named when it makes no sense."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler_app import definition
from scheduler_app.definition import InvalidDefinition

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
WORDS: dict[str, Any] = {
    "name": "a job",
    "schedule_type": "interval",
    "schedule_config": {"interval_ms": 60_000},
    "task_type": "shell_command",
    "task_config": {"command": ["true"]},
}
UNTIMED = {name: WORDS[name] for name in ("name", "task_type", "task_config")}


def problems_of(words: dict[str, Any]) -> set[str]:
    with pytest.raises(InvalidDefinition) as refused:
        definition.parse(words)
    return {".".join(one.path) for one in refused.value.problems}


@pytest.mark.parametrize(
    "words",
    [
        {"start_at": "2026-12-01T09:00:00+01:00", "end_at": NOON.replace(year=2027).isoformat()},
        {"max_runs": 1},
        {"execution_window": {"hours": ["09:00-17:00", "22:00-02:00"], "weekdays": ["mon"]}},
        {"execution_window": {"hours": ["00:00-24:00"]}},
        {"execution_window": {"weekdays": []}},
        {"calendar": "Berlin office", "outside_window": "next_opening"},
        {"calendar": ""},
        {"jitter_ms": 86_400_000, "spread_ms": 1},
        {"overlap_policy": "buffer_all", "buffer_limit": 10_000},
        {"overlap_policy": "cancel_running"},
        {"run_ttl_ms": 1000, "pause_after_failures": 1, "max_concurrent": 1},
        {"limit_key": "tenant:{tenant}/{order.items.0}"},
        {"unique_key": "order:{order_id}"},
        {"unique_key": "{a}", "unique_mode": "replace"},
        {"unique_key": "{a}", "unique_mode": "debounce", "unique_for_ms": 1000},
    ],
    ids=str,
)
def test_what_makes_sense_is_taken_as_it_is_said(words: dict[str, Any]) -> None:
    parsed = definition.parse({**WORDS, **words})

    assert parsed.columns().keys() >= words.keys()


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"start_at": "2026-12-01T09:00:00"}, "start_at"),
        ({"start_at": NOON, "end_at": NOON}, "end_at"),
        ({"max_runs": 0}, "max_runs"),
        ({"execution_window": {"hours": ["9-17"]}}, "execution_window.hours"),
        ({"execution_window": {"hours": ["09:00-09:00"]}}, "execution_window.hours"),
        ({"execution_window": {"hours": ["24:00-02:00"]}}, "execution_window.hours"),
        ({"execution_window": {"hours": "09:00-17:00"}}, "execution_window.hours"),
        ({"execution_window": {"hours": ["09:00-17:00"] * 25}}, "execution_window.hours"),
        ({"execution_window": {"weekdays": ["Monday"]}}, "execution_window.weekdays"),
        ({"execution_window": {"days": []}}, "execution_window.days"),
        ({"calendar": 7}, "calendar"),
        ({"outside_window": "later"}, "outside_window"),
        ({"jitter_ms": -1}, "jitter_ms"),
        ({"spread_ms": 86_400_001}, "spread_ms"),
        ({"buffer_limit": 0}, "buffer_limit"),
        ({"run_ttl_ms": 999}, "run_ttl_ms"),
        ({"pause_after_failures": 0}, "pause_after_failures"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"limit_key": "tenant:{tenant"}, "limit_key"),
        ({"limit_key": "tenant:{}"}, "limit_key"),
        ({"limit_key": "a\nb"}, "limit_key"),
        ({"unique_key": "{a b}"}, "unique_key"),
        ({"unique_key": "{a..b}"}, "unique_key"),
        ({"unique_mode": "replace"}, "unique_key"),
        ({"unique_key": "{a}", "unique_mode": "for_time"}, "unique_for_ms"),
        ({"unique_key": "{a}", "unique_mode": "debounce"}, "unique_for_ms"),
        ({"unique_mode": "once"}, "unique_mode"),
        ({"overlap_policy": "queue"}, "overlap_policy"),
        ({"trigger_config": {"source": "webhook"}}, "trigger_config"),
    ],
    ids=str,
)
def test_a_word_that_makes_no_sense_is_named(words: dict[str, Any], field: str) -> None:
    assert field in problems_of({**WORDS, **words})


@pytest.mark.parametrize(
    ("trigger_type", "trigger_config"),
    [
        ("event_driven", {"source": "webhook"}),
        ("event_driven", {"source": "webhook", "filter": {"kind": {"eq": "paid"}}}),
        ("event_driven", {"source": "internal", "event": "execution:failed"}),
        ("dependent", {"upstreams": ["nightly report"]}),
        ("dependent", {"upstreams": ["a", "b"], "on": "end", "mode": "all"}),
        ("manual", {}),
    ],
    ids=str,
)
def test_a_schedule_that_time_does_not_start_says_what_does(
    trigger_type: str, trigger_config: dict[str, Any]
) -> None:
    words = {"trigger_type": trigger_type, "trigger_config": trigger_config}

    parsed = definition.parse({**UNTIMED, **words})

    assert parsed.trigger_config == trigger_config


@pytest.mark.parametrize(
    ("trigger_type", "trigger_config", "field"),
    [
        ("event_driven", {}, "trigger_config.source"),
        ("event_driven", {"source": "mail"}, "trigger_config"),
        ("event_driven", {"source": "internal"}, "trigger_config.event"),
        ("event_driven", {"source": "internal", "event": "moon:rises"}, "trigger_config.event"),
        ("dependent", {}, "trigger_config.upstreams"),
        ("dependent", {"upstreams": []}, "trigger_config.upstreams"),
        ("dependent", {"upstreams": ["a", "a"]}, "trigger_config.upstreams"),
        ("dependent", {"upstreams": ["a"], "on": "luck"}, "trigger_config.on"),
        ("manual", {"source": "webhook"}, "trigger_config"),
    ],
    ids=str,
)
def test_a_trigger_that_makes_no_sense_is_named(
    trigger_type: str, trigger_config: dict[str, Any], field: str
) -> None:
    words = {"trigger_type": trigger_type, "trigger_config": trigger_config}

    named = problems_of({**UNTIMED, **words})

    assert any(one == field or one.startswith(f"{field}.") for one in named)


@pytest.mark.parametrize("trigger_type", ["manual", "event_driven", "dependent"])
def test_a_schedule_that_time_does_not_start_has_no_rule(trigger_type: str) -> None:
    assert "schedule_type" in problems_of({**WORDS, "trigger_type": trigger_type})


def test_everything_that_is_wrong_is_named_at_once() -> None:
    words = {"max_runs": 0, "jitter_ms": -1, "unique_mode": "once"}

    assert problems_of({**WORDS, **words}) == {"max_runs", "jitter_ms", "unique_mode"}


@pytest.mark.parametrize(
    ("per_class", "field"),
    [
        ({"often": {}}, "retry_policy.per_class.often"),
        ({"timeout": {"strategy": "fibonacci"}}, "retry_policy.per_class.timeout.strategy"),
        ({"timeout": {"max_retries": -1}}, "retry_policy.per_class.timeout.max_retries"),
        ({"timeout": {"retries": 1}}, "retry_policy.per_class.timeout.retries"),
        ({"timeout": {"max_retries": 99}}, "retry_policy.per_class"),
        ({"timeout": 3}, "retry_policy.per_class.timeout"),
        ([], "retry_policy.per_class"),
    ],
)
def test_what_makes_no_sense_about_a_class_of_errors_is_named(per_class: Any, field: str) -> None:
    assert problems_of({**WORDS, "retry_policy": {"per_class": per_class}}) == {field}


def test_what_is_said_about_classes_of_errors_is_stored_and_nothing_more() -> None:
    said = {"timeout": {"max_retries": 1, "strategy": "adaptive"}}
    parsed = definition.parse({**WORDS, "retry_policy": {"per_class": said}})
    usual = definition.parse(WORDS)

    assert parsed.columns()["retry_policy"]["per_class"] == said
    assert "per_class" not in usual.columns()["retry_policy"]


def test_whether_a_call_is_idempotent_is_said_in_words_that_are_checked() -> None:
    call = {**WORDS, "task_type": "http_request"}

    for said in (True, False, None):
        definition.parse({**call, "task_config": {"url": "http://host/", "idempotent": said}})
    wrong = {**call, "task_config": {"url": "http://host/", "idempotent": "perhaps"}}
    assert problems_of(wrong) == {"task_config.idempotent"}
