"""The demo's judge about its AI: silent where plan, steps and calls agree, outspoken elsewhere."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from rich.console import Console

from config.demo import judge_ai, report
from config.demo.evidence import Cycle, Evidence, Execution, Schedule, Step
from config.demo.ledger import Call
from config.demo.schedules import DemoSchedule, demo_endpoints, demo_schedules

NINE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
URL = "http://127.0.0.1:9000"
NAMES = ("demo-ping", "demo-figures", "demo-note")
PATHS = {one["name"]: one["url"] for one in demo_endpoints(url="")}
EXPECTED = {"planned": DemoSchedule({"name": "planned", "task_config": {"endpoints": list(NAMES)}})}


def schedule() -> Schedule:
    return Schedule(
        id=uuid4(),
        name="planned",
        trigger_type="time_based",
        schedule_type="interval",
        schedule_config={"interval_ms": 45_000},
        timezone="UTC",
        priority="normal",
        enabled=True,
        anchor_at=NINE,
        next_run_at=None,
        version=1,
    )


def execution(schedule_id: UUID) -> Execution:
    return Execution(
        id=uuid4(),
        number=7,
        schedule_id=schedule_id,
        trigger="time",
        task_type="agent",
        url=None,
        nominal_at=NINE,
        due_at=NINE,
        created_at=NINE,
        started_at=NINE,
        completed_at=NINE,
        status="completed",
        attempt=1,
        dead_letter_at=None,
    )


def call(step: Step) -> Call:
    path = (step.url or "").removeprefix(URL)
    return Call(uuid4().hex, path, "GET", str(step.id), None, NINE.timestamp(), 200, 0.1)


@pytest.fixture
def told() -> Evidence:
    """One execution of an AI without a model: three endpoints, each called once."""
    of = schedule()
    ran = execution(of.id)
    steps = [Step(uuid4(), ran.id, name, "completed", f"{URL}{PATHS[name]}") for name in NAMES]
    return Evidence(
        judged_at=NINE,
        read_at=NINE,
        schedules=[of],
        fires=[],
        executions=[ran],
        errors=[],
        dead_letters=frozenset(),
        calls=[call(one) for one in steps],
        cycles=[Cycle(ran.id, "deterministic", "degraded")],
        steps=steps,
    )


def said(evidence: Evidence) -> str:
    return "\n".join(judge_ai.judge(evidence, EXPECTED))


def test_steps_that_were_called_once_are_met_with_silence(told: Evidence) -> None:
    assert said(told) == ""


def test_a_model_may_call_fewer_and_is_then_no_lower_tier(told: Evidence) -> None:
    by_model = [replace(told.cycles[0], tier="model", outcome="ok")]

    assert said(replace(told, cycles=by_model, steps=told.steps[:2], calls=told.calls[:2])) == ""


def without_a_cycle(told: Evidence) -> dict[str, Any]:
    return {"cycles": []}


def without_a_tier(told: Evidence) -> dict[str, Any]:
    return {"cycles": [replace(told.cycles[0], tier="")]}


def passed_off_as_clean(told: Evidence) -> dict[str, Any]:
    return {"cycles": [replace(told.cycles[0], outcome="ok")]}


def called_twice(told: Evidence) -> dict[str, Any]:
    return {"calls": [*told.calls, replace(told.calls[0], call="again")]}


def never_called(told: Evidence) -> dict[str, Any]:
    return {"calls": told.calls[1:]}


def refused(told: Evidence) -> dict[str, Any]:
    return {"calls": [replace(told.calls[0], status=503), *told.calls[1:]]}


def left_open(told: Evidence) -> dict[str, Any]:
    return {"steps": [replace(told.steps[0], status="running"), *told.steps[1:]]}


def left_out(told: Evidence) -> dict[str, Any]:
    return {"steps": told.steps[1:], "calls": told.calls[1:]}


def made_up(told: Evidence) -> dict[str, Any]:
    return {"steps": [*told.steps[1:], replace(told.steps[0], name="elsewhere")]}


LIES: list[tuple[Callable[[Evidence], dict[str, Any]], str]] = [
    (without_a_cycle, "Execution #7 is an agent's and has no cycle"),
    (without_a_tier, "its cycle does not say who planned it"),
    (passed_off_as_clean, "(tier 'deterministic') has the outcome 'ok', not 'degraded'"),
    (called_twice, "Step 'demo-ping' of execution #7 was called 2 times instead of once"),
    (never_called, "Step 'demo-ping' of execution #7 was called 0 times instead of once"),
    (refused, "is completed, but its call got 503"),
    (left_open, "is running although its execution is completed"),
    (left_out, "was planned without a model and yet did not call each endpoint once"),
    (made_up, "called 'elsewhere', which its schedule does not name"),
]


@pytest.mark.parametrize(("lie", "sentence"), LIES, ids=[lie.__name__ for lie, _ in LIES])
def test_every_lie_is_named(
    told: Evidence, lie: Callable[[Evidence], dict[str, Any]], sentence: str
) -> None:
    assert sentence in said(replace(told, **lie(told)))


def test_a_person_reads_who_planned(told: Evidence) -> None:
    console = Console(width=200, file=io.StringIO())

    report.show(report.summarise(told, []), console)

    assert isinstance(console.file, io.StringIO)
    sentence = "'planned': 1 runs without a model: each endpoint called once, in order"
    assert sentence in console.file.getvalue()


def test_the_demo_names_three_endpoints_that_it_also_registers() -> None:
    (of_ai,) = [
        one
        for one in demo_schedules(url=URL, now=NINE, history=[])
        if one.definition["task_type"] == "agent"
    ]

    assert of_ai.endpoints == NAMES == tuple(one["name"] for one in demo_endpoints(url=URL))
