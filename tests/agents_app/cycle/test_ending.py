"""What a cycle leaves behind when it ends."""

from __future__ import annotations

import pytest

from errors_app.models import ErrorRecord
from executions_app.states import Outcome, RecoveryStatus
from tests.agents_app.cycle.driving import Calls, calls, carry_out, executing, execution_of

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["calls"]  # a fixture


def test_a_step_that_the_execution_could_do_without_leaves_an_error_record_and_no_failure(
    calls: Calls,
) -> None:
    calls.failing.update("bc")
    cycle = executing(["a", "b", "c"])

    carry_out(cycle, "a", "b", "c")  # whoever ends the last one carries out what follows

    done = execution_of(cycle)
    assert done.outcome == Outcome.PARTIAL
    first, second = ErrorRecord.objects.filter(execution_id=done.id).order_by("context__part")
    assert (first.error_class, first.recovery_status) == ("permanent", RecoveryStatus.RESOLVED)
    assert first.message == "The step 'b' failed: The tool 'b' failed: b fails"
    assert (first.context["step"], second.context["step"]) == ("b", "c")
    assert first.attempt == 0


def test_a_cycle_whose_steps_all_ended_well_leaves_none(calls: Calls) -> None:
    cycle = executing(["a", "b"])

    carry_out(cycle, "a", "b")

    assert execution_of(cycle).status == "completed"
    assert not ErrorRecord.objects.filter(execution_id=cycle.execution_id).exists()
