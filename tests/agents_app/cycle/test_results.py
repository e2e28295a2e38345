"""What an execution of an agent has to show, however it ends, and what is remembered of it."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest

from agents_app import memory
from agents_app.cycle import ending, holder, rows, stages, watchdog
from agents_app.models import Cycle, CycleStage, Memory
from agents_app.models_memory import MemoryKind
from config.env import env
from errors_app import recovery
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, lifecycle
from executions_app.models import Step
from executions_app.states import ExecutionStatus
from tests.agents_app.cycle.driving import (
    Calls,
    begun,
    calls,
    carry_out,
    executing,
    execution_of,
    step_of,
    stored,
)
from tests.agents_app.cycle.test_begin import queued_again

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["calls"]  # a fixture

LONG_AGO = timedelta(hours=1)
FORM = {"summary", "tier", "tier_reason", "strategy", "notes", "errors", "steps", "tokens"}
NO = HandlerError("no", error_class=ErrorClass.PERMANENT)
HICCUP = HandlerError("a hiccup", error_class=ErrorClass.TRANSIENT)


def result_of(cycle: Cycle) -> dict[str, Any]:
    result = execution_of(cycle).result
    assert isinstance(result, dict)
    return result


def remembered() -> list[str]:
    kept = Memory.objects.filter(kind=MemoryKind.OUTCOME.value).order_by("id")
    return list(kept.values_list("text", flat=True))


def test_an_execution_that_ended_well_has_no_errors_to_show(calls: Calls) -> None:
    cycle = executing(["a"])

    carry_out(cycle, "a")

    assert set(result_of(cycle)) >= FORM
    assert result_of(cycle)["errors"] == []


def test_what_an_execution_did_without_is_among_its_errors(calls: Calls) -> None:
    calls.failing.add("b")
    cycle = executing(["a", "b"])

    carry_out(cycle, "a", "b")

    assert result_of(cycle)["errors"] == [
        {"step": "b", "error_class": "permanent", "message": "The tool 'b' failed: b fails"}
    ]


def test_an_execution_that_is_given_up_shows_its_steps_and_errors_in_the_same_form(
    calls: Calls,
) -> None:
    calls.failing.update("ab")
    cycle = executing(["a", "b"])

    carry_out(cycle, "a", "b")

    assert execution_of(cycle).status == ExecutionStatus.FAILED
    told = result_of(cycle)
    assert set(told) >= FORM
    assert [one["step"] for one in told["errors"]] == ["a", "b"]
    assert [(one["name"], one["status"]) for one in told["steps"]] == [
        ("a", "failed"),
        ("b", "failed"),
    ]
    assert (told["step"], told["failed"], told["total"]) == ("a", 2, 2)
    assert told["summary"] == stored(cycle).summary != ""


def test_what_had_not_begun_when_it_was_given_up_is_shown_as_it_ends(calls: Calls) -> None:
    cycle = executing(["a"], ["b"], ["c"])
    carry_out(cycle, "a")

    ending.fail(cycle, NO)

    shown = [(one["name"], one["status"]) for one in result_of(cycle)["steps"]]
    assert shown == [("a", "completed"), ("b", "cancelled"), ("c", "cancelled")]
    stand = Step.objects.filter(execution_id=cycle.execution_id).order_by("position")
    assert shown == list(stand.values_list("name", "status"))


def test_what_is_shown_of_one_that_was_given_up_is_bounded(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycle = executing(["a"], ["b"])
    Step.objects.filter(id=step_of(cycle, "a").id).update(
        status="completed", result={"text": "x" * (2 * env.result_max_bytes)}
    )

    ending.fail(cycle, NO)

    assert execution_of(cycle).result_truncated
    assert len(str(result_of(cycle))) <= env.result_max_bytes


def test_an_attempt_that_is_tried_again_shows_nothing_yet_and_is_not_remembered(
    calls: Calls,
) -> None:
    cycle = executing(["a"])

    ending.fail(cycle, HICCUP)

    assert execution_of(cycle).status == ExecutionStatus.PENDING
    assert execution_of(cycle).result is None
    assert remembered() == []


def test_an_attempt_that_came_to_its_last_stage_is_not_remembered_while_another_follows(
    calls: Calls,
) -> None:
    cycle = executing(["a"])
    Step.objects.filter(execution_id=cycle.execution_id).update(
        status="failed", error_class=ErrorClass.TRANSIENT
    )
    rows.move(cycle, stage=CycleStage.SCHEDULE)

    stages.run_stage(cycle.id)

    assert execution_of(cycle).status == ExecutionStatus.PENDING
    assert remembered() == []


def test_how_the_last_attempt_ended_is_what_is_remembered(calls: Calls) -> None:
    cycle = executing(["a"], ["b"])
    carry_out(cycle, "a")
    ending.fail(cycle, HICCUP)
    again = begun(queued_again(cycle.execution_id))

    ending.fail(again, NO)

    (text,) = remembered()
    assert text.startswith("failed, error (planned by: deterministic)")


def test_what_was_cancelled_is_remembered_as_that(calls: Calls) -> None:
    cycle = executing(["a"])
    lifecycle.cancel(execution_of(cycle))

    watchdog.look()

    (text,) = remembered()
    assert text.startswith("cancelled, cancelled")


def test_what_ended_without_its_cycle_is_remembered_once_that_is_closed(calls: Calls) -> None:
    cycle = executing(["a"])
    recovery.recover(holder.of(cycle), NO, rng=Random(1))  # and its worker died there
    at = clock.now() - LONG_AGO
    Cycle.objects.filter(id=cycle.id).update(look_at=at, updated_at=at)
    before = remembered()

    watchdog.look()

    assert before == []
    (text,) = remembered()
    assert text.startswith("failed, error")
    told = result_of(cycle)
    assert set(told) >= FORM
    assert [(one["name"], one["status"]) for one in told["steps"]] == [("a", "cancelled")]


def test_a_memory_that_fails_fails_no_end(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(memory, "remember_cycle", breaks)
    cycle = executing(["a"])

    ending.fail(cycle, NO)

    assert stored(cycle).status == "failed"
    assert execution_of(cycle).status == ExecutionStatus.FAILED
