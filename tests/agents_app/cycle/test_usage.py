"""What an execution of an agent took of the machines that its stages and steps ran on."""

from __future__ import annotations

import time

import pytest

from agents_app.cycle import ending
from agents_app.models import Cycle
from errors_app.taxonomy import ErrorClass, HandlerError
from executions_app.ledger import Usage
from executions_app.models import Execution, Step
from tests.agents_app.cycle.driving import (
    Calls,
    calls,
    carry_out,
    executing,
    execution_of,
    step_of,
    stored,
)

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["calls"]  # a fixture
BURNT_MS = 40


@pytest.fixture
def busy(calls: Calls) -> Calls:
    """Every call computes for a while, in the thread of its tool."""

    def burn() -> None:
        ends_at = time.thread_time() + BURNT_MS / 1000
        while time.thread_time() < ends_at:
            pass

    calls.before = burn
    return calls


def usage(row: Cycle | Execution | Step) -> Usage:
    assert row.usage is not None
    return Usage(**row.usage)


def test_all_stages_and_steps_of_a_cycle_count(busy: Calls) -> None:
    cycle = executing(["a"], ["b"])

    carry_out(cycle, "a", "b")

    took = usage(execution_of(cycle))
    steps = [usage(step_of(cycle, name)) for name in "ab"]
    stages = usage(stored(cycle))
    assert all(BURNT_MS <= one.cpu_ms < took.cpu_ms for one in steps)
    assert stages.cpu_ms > 0
    assert took.cpu_ms == pytest.approx(sum(one.cpu_ms for one in (*steps, stages)))
    assert took.peak_memory_kb == max(one.peak_memory_kb for one in (*steps, stages))


def test_what_failed_has_been_taken_too(busy: Calls) -> None:
    busy.failing.update("ab")
    cycle = executing(["a", "b"])

    carry_out(cycle, "a", "b")

    execution = execution_of(cycle)
    assert execution.status == "failed"
    assert usage(execution).cpu_ms >= 2 * BURNT_MS


def test_a_cycle_that_is_ended_before_anything_ran_took_nothing_that_is_known(
    calls: Calls,
) -> None:
    cycle = executing(["a"])

    ending.fail(cycle, HandlerError("no", error_class=ErrorClass.PERMANENT))

    assert execution_of(cycle).usage is None
