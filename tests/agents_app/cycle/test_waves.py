"""Waves of steps when things go wrong between them: late bodies, re-drives, cancels, rivals."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial

import pytest

from agents_app import selection
from agents_app.cycle import ending, rows, stages, watchdog
from agents_app.models import Cycle, CycleStage, CycleStatus
from agents_app.selection import Requirements
from agents_app.tasks import carry_out_stage, carry_out_step, look_at_wave
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app import clock, lifecycle
from executions_app.models import Execution, Step
from executions_app.states import ExecutionStatus
from tests.agents_app.agents import make_agent
from tests.agents_app.asking import provider_of
from tests.agents_app.cycle.driving import (
    NAMES,
    Calls,
    begun,
    calls,
    carry_out,
    ends,
    executing,
    execution_of,
    percents,
    queued,
    step_of,
    stored,
    told,
    until,
)
from tests.fakes.model_script import Asked, Reply, plan_step, says_json
from tests.fakes.model_server import model_server

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["calls"]  # a fixture


def places_used() -> int:
    return selection.standing(Requirements())[0].used


def test_a_late_body_of_an_earlier_wave_begins_nothing_while_a_later_one_runs(
    calls: Calls,
) -> None:
    cycle = executing(["a"], ["b", "c"], ["d"])
    calls.shut("b")
    carry_out(cycle, "a")
    calls.begin(cycle, "b")
    carry_out(cycle, "c")

    look_at_wave(cycle_id=str(cycle.id))

    assert ends(cycle) == {"a": "completed", "b": "running", "c": "completed", "d": "planned"}
    assert stored(cycle).wave == 1
    calls.end()
    assert ends(cycle)["d"] == "queued"


def test_a_late_body_of_the_last_wave_leaves_the_stages_behind_it_alone(calls: Calls) -> None:
    cycle = executing(["a"])
    Step.objects.filter(id=step_of(cycle, "a").id).update(status="completed")
    look_at_wave(cycle_id=str(cycle.id))
    held = rows.hold_stage(cycle.id)
    assert held is not None
    assert held.stage_token is not None
    rows.note(held, held=held.stage_token, stage=CycleStage.SCHEDULE)

    look_at_wave(cycle_id=str(cycle.id))

    after = stored(cycle)
    assert (after.stage, after.stage_token) == (CycleStage.SCHEDULE, held.stage_token)


def test_a_re_drive_while_steps_run_makes_no_call_again(calls: Calls) -> None:
    cycle = executing(["a", "b"], ["c"])
    calls.shut("a", "b")
    calls.begin(cycle, "a", "b")
    leases = leases_of(cycle)
    long_ago = clock.now() - timedelta(hours=1)
    Cycle.objects.filter(id=cycle.id).update(look_at=long_ago, updated_at=long_ago)

    watchdog.look()
    carry_out_stage(cycle_id=str(cycle.id))
    for name in ("a", "b", "c"):
        carry_out_step(cycle_id=str(cycle.id), step_id=str(step_of(cycle, name).id))

    assert leases_of(cycle) == leases
    assert ends(cycle)["c"] == "planned"
    calls.end()
    assert sorted(calls.begun) == ["a", "b"]
    assert ends(cycle) == {"a": "completed", "b": "completed", "c": "queued"}


def leases_of(cycle: Cycle) -> list[object]:
    found = Step.objects.filter(execution_id=cycle.execution_id).order_by("position")
    return list(found.values_list("lease_token", flat=True))


def test_another_attempt_waits_for_what_still_runs_of_the_one_before(calls: Calls) -> None:
    cycle = executing(["a", "b"], ["c"], concurrency=2)
    calls.shut("a")
    calls.begin(cycle, "a")
    ending.fail(cycle, HandlerError("a hiccup", error_class=ErrorClass.TRANSIENT))
    Execution.objects.filter(id=cycle.execution_id).update(status=ExecutionStatus.QUEUED)

    again = begun(cycle.execution_id)

    assert again.id == cycle.id
    assert ends(again) == {"a": "running", "b": "queued", "c": "planned"}
    carry_out(again, "b")
    assert ends(again)["c"] == "planned"
    calls.end()
    assert ends(again) == {"a": "completed", "b": "completed", "c": "queued"}
    assert calls.begun == ["a", "b"]


def test_a_cancel_in_mid_wave_stops_what_runs_and_begins_nothing(calls: Calls) -> None:
    cycle = executing(["a"], ["b", "c", "d", "e"], ["f"], concurrency=3)
    calls.shut("b", "c")
    carry_out(cycle, "a")
    calls.begin(cycle, "b", "c")

    lifecycle.cancel(execution_of(cycle))
    carry_out(cycle, "d", "e", "f")

    until(lambda: execution_of(cycle).status == "cancelled", what="the execution is cancelled")
    assert sorted(calls.begun) == ["a", "b", "c"]
    assert ends(cycle) == {"a": "completed", **dict.fromkeys("bcdef", "cancelled")}
    assert sorted(one.data["name"] for one in told(cycle, "step:cancelled")) == list("bcdef")
    is_over(cycle)


def test_an_abort_at_the_third_of_ten_steps(calls: Calls) -> None:
    cycle = executing(*NAMES, concurrency=1)
    carry_out(cycle, "a", "b")
    calls.shut("c")
    calls.begin(cycle, "c")

    lifecycle.cancel(execution_of(cycle))

    until(lambda: execution_of(cycle).status == "cancelled", what="the execution is cancelled")
    calls.end()
    carry_out(cycle, *NAMES)
    assert calls.begun == ["a", "b", "c"]
    assert ends(cycle) == {"a": "completed", "b": "completed"} | dict.fromkeys(
        NAMES[2:], "cancelled"
    )
    is_over(cycle)


def is_over(cycle: Cycle) -> None:
    """Cancelled once, with nothing held any more, and told in order."""
    after, execution = stored(cycle), execution_of(cycle)
    assert after.status == CycleStatus.CANCELLED
    assert (execution.outcome, execution.lease_token) == ("cancelled", None)
    assert places_used() == 0
    assert len(told(cycle, "execution:cancelled")) == 1
    assert percents(cycle) == sorted(percents(cycle))
    assert max(percents(cycle)) < 100
    watchdog.look()
    assert len(told(cycle, "execution:cancelled")) == 1


def test_steps_that_are_skipped_are_told_of_with_their_reason(calls: Calls) -> None:
    cycle = executing(["a", "b"], ["c", "d"], c="a")
    calls.failing.add("a")

    carry_out(cycle, "a", "b")

    assert ends(cycle) == {"a": "failed", "b": "completed", "c": "skipped", "d": "queued"}
    (skipped,) = told(cycle, "step:skipped")
    assert (skipped.data["name"], skipped.data["wave"]) == ("c", 1)
    assert "'a', which did not end well" in skipped.data["reason"]


def test_whoever_ends_the_last_step_goes_on_to_the_end_of_the_cycle(calls: Calls) -> None:
    cycle = executing(["a"], ["b"])

    carry_out(cycle, "a", "b")

    after = stored(cycle)
    assert (after.status, after.stage) == (CycleStatus.COMPLETED, CycleStage.DONE)
    assert set(after.timings) == {"execute", "summarise", "schedule"}
    assert execution_of(cycle).status == ExecutionStatus.COMPLETED
    assert percents(cycle)[-1] == 100
    assert places_used() == 0


def test_two_engines_cannot_both_win_a_stage(calls: Calls) -> None:
    gate, asked = threading.Event(), threading.Event()

    def waits(_: Asked) -> Reply:
        asked.set()
        gate.wait(20)
        return says_json(
            {
                "strategy": "parallel",
                "concurrency": 2,
                "steps": [plan_step("s1", "a", target="tool"), plan_step("s2", "b", target="tool")],
                "reason": "both",
                "confidence": 0.9,
            }
        )

    with model_server() as model:
        model.on("plan", waits)
        make_agent("warmer", provider=provider_of(model), tools=list(NAMES))
        cycle = begun(queued())
        begin = threading.Barrier(3)
        both = [calls.apart(partial(at_once, begin, cycle)) for _ in range(2)]
        begin.wait(20)
        until(asked.is_set, what="the model is asked")
        until(lambda: not all(one.is_alive() for one in both), what="one engine has given way")
        carry_out_stage(cycle_id=str(cycle.id))  # and a third message finds nothing to do
        gate.set()
        calls.end()

        assert model.count("plan") == 1
    assert ends(cycle) == {"a": "queued", "b": "queued"}
    assert stored(cycle).stage == CycleStage.EXECUTE


def at_once(begin: threading.Barrier, cycle: Cycle) -> None:
    begin.wait(20)
    stages.run_stage(cycle.id)
