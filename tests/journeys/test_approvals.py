"""A plan that waits for a person, on real processes: yes, no and cancel, each once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from agents_app.cycle import approving
from agents_app.models import PlanApproval
from executions_app import lifecycle
from executions_app.audit import SYSTEM
from scheduler_app import schedules
from tests.fakes.endpoint_server import Endpoints
from tests.fakes.model_script import plan_step, says_json
from tests.fakes.model_server import ModelServer
from tests.journeys import ai
from tests.journeys.ai import plan
from tests.journeys.arrows import walks
from tests.journeys.scenario import moves, one, reaches
from tests.processes import System

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    endpoints: Endpoints,
    model: ModelServer,
) -> Iterator[System]:
    """One worker thread and one place in all: what waits must hold neither."""
    folder = tmp_path_factory.mktemp("approvals")
    with (
        django_db_blocker.unblock(),
        ai.running(folder, endpoints, model, threads=1, SCHEDULER_MAX_CONCURRENT="1") as system,
    ):
        yield system


@pytest.fixture(autouse=True)
def fresh(endpoints: Endpoints, model: ModelServer) -> None:
    ai.forget(endpoints, model)
    model.on("plan", says_json(plan(plan_step("a", "alpha"), plan_step("b", "beta", "a"))))


def asked(system: System) -> PlanApproval:
    """A plan that waits."""
    own = ai.schedule(config={"approve_plan": "always"})
    execution = schedules.trigger(own, actor=SYSTEM)
    reaches(system, execution, "waiting")
    return PlanApproval.objects.get(execution_id=execution)


@walks("Execution", "running -> waiting", "waiting -> pending")
def test_what_waits_is_in_nobodys_way_and_is_carried_out_once_it_is_approved(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    approval = asked(system)

    other = reaches(system, ai.run(), "completed")
    before = one(approval.execution_id).status, len(endpoints.calls())
    approving.approve(approval, plan_hash=approval.plan_hash, actor=SYSTEM)
    done = reaches(system, approval.execution_id, "completed")

    assert (other.outcome, before) == ("ok", ("waiting", 2))
    assert (done.outcome, done.attempt) == ("ok", 1)
    assert [call.name for call in endpoints.calls()] == ["alpha", "beta"] * 2
    assert len(model.asked("plan")) == 2
    assert moves(done.id) == [
        *("queued", "running", "waiting", "pending", "queued", "running", "completed")
    ]


@walks("Execution", "waiting -> failed")
def test_what_is_rejected_calls_nothing(system: System, endpoints: Endpoints) -> None:
    approval = asked(system)

    approving.reject(approval, reason="not at night", actor=SYSTEM)

    done = reaches(system, approval.execution_id, "failed")
    assert (done.outcome, done.dead_letter_at, endpoints.calls()) == ("rejected", None, [])


@walks("Execution", "waiting -> cancelled")
def test_what_waits_is_cancelled_and_the_question_withdrawn(
    system: System, endpoints: Endpoints
) -> None:
    approval = asked(system)

    lifecycle.cancel(one(approval.execution_id))

    withdrawn = PlanApproval.objects.filter(id=approval.id, status="withdrawn")
    system.until(withdrawn.exists, what="nobody is asked any more")
    assert (one(approval.execution_id).status, endpoints.calls()) == ("cancelled", [])
