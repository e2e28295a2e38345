"""What is kept with a cycle comes back as it was, and reads the same each time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from agents_app.planning.contracts import Advice, Plan, PlanStep, SubTask, TaskAnalysis

PLAN = Plan(
    strategy="dependency",
    concurrency=3,
    steps=(
        PlanStep("a", "endpoint", "warm", {"z": 1, "b": [True, None, "ü"]}, reason="first"),
        PlanStep("b", "tool", "search", depends_on=("a",), priority=9, critical=True),
    ),
    reason="because",
    confidence=0.75,
)
SOON = datetime(2026, 6, 1, 12, 0, 0, 250_000, tzinfo=UTC)
ADVICE = Advice("next_run_at", next_run_at=SOON, reason="soon", recommended_actions=("look",))
ANALYSIS = TaskAnalysis(
    needs=("http",),
    complexity="high",
    required_tools=("search",),
    sub_tasks=(SubTask("a", "find"), SubTask("b", "tell", depends_on=("a",))),
    reason="two parts",
)


def test_a_plan_comes_back_as_it_was() -> None:
    assert Plan.from_json(json.loads(json.dumps(PLAN.as_json()))) == PLAN


def test_a_step_comes_back_as_it_was() -> None:
    assert PlanStep.from_json(json.loads(json.dumps(PLAN.steps[0].as_json()))) == PLAN.steps[0]


def test_advice_comes_back_as_it_was_and_shows_instants_in_utc() -> None:
    shown = ADVICE.as_json()

    assert shown["next_run_at"] == "2026-06-01T12:00:00.250000Z"
    assert Advice.from_json(json.loads(json.dumps(shown))) == ADVICE


def test_an_analysis_comes_back_as_it_was() -> None:
    assert TaskAnalysis.from_json(json.loads(json.dumps(ANALYSIS.as_json()))) == ANALYSIS


def test_an_instant_of_another_zone_is_shown_in_utc() -> None:
    elsewhere = SOON.astimezone(timezone(timedelta(hours=5)))

    assert Advice("pause", pause_until=elsewhere).as_json()["pause_until"] == (
        "2026-06-01T12:00:00.250000Z"
    )


def test_the_fields_keep_their_order() -> None:
    assert list(PLAN.as_json()) == ["strategy", "concurrency", "steps", "reason", "confidence"]


@pytest.mark.parametrize(
    "stored",
    [None, [], {}, {"strategy": "mixed"}, {**PLAN.as_json(), "steps": None}],
)
def test_what_is_no_plan_is_not_read_as_one(stored: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Plan.from_json(stored)


def test_an_instant_without_zone_is_not_read() -> None:
    with pytest.raises(ValueError, match="zone"):
        Advice.from_json({"action": "pause", "pause_until": "2026-06-01T12:00:00"})
