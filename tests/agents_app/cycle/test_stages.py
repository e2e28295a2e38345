"""What goes wrong inside a stage, and leaves nothing held behind."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from agents_app import selection
from agents_app.cycle import advising, making, rows, stages, summarising
from agents_app.models import CycleStage, CycleStatus
from agents_app.selection import Requirements
from errors_app.models import ErrorRecord
from executions_app.states import ExecutionStatus
from tests.agents_app.agents import make_agent
from tests.agents_app.cycle import driving  # noqa: F401  messages go to the Redis of the tests
from tests.agents_app.cycle.driving import execution_of, stored
from tests.agents_app.cycle.test_begin import begun, planned, queued

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("stage", "module", "name"),
    [
        (CycleStage.PLAN, making, "make"),
        (CycleStage.SUMMARISE, summarising, "summarise"),
        (CycleStage.SCHEDULE, advising, "advise"),
    ],
)
def test_a_defect_in_any_stage_frees_the_lease_and_the_place(
    stage: CycleStage, module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_agent("warmer", max_concurrent=1)
    cycle = begun(queued())
    if stage is not CycleStage.PLAN:
        planned(cycle, "completed")
        rows.move(cycle, stage=stage)
    waits = begun(queued())

    def breaks(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(module, name, breaks)
    stages.run_stage(cycle.id)

    after, execution = stored(cycle), execution_of(cycle)
    assert (after.status, after.stage, after.stage_token) == (CycleStatus.FAILED, stage, None)
    assert (execution.lease_token, execution.lease_expires_at) == (None, None)
    assert execution.status == ExecutionStatus.FAILED  # of class `unknown`: not tried again
    assert ErrorRecord.objects.get(execution_id=execution.id).message == "a defect"
    assert stored(waits).stage == CycleStage.PLAN
    assert selection.standing(Requirements())[0].used == 1
