"""Workers that go away between two waves: what was decided stands, and only its message is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from executions_app.models import Event, Step
from tests.fakes.endpoint_server import Does, Endpoints
from tests.fakes.model_script import plan_step, says_json
from tests.fakes.model_server import ModelServer
from tests.faults.nemesis import Nemesis
from tests.journeys import ai
from tests.journeys.ai import NAMES, ends, plan, run
from tests.journeys.scenario import reaches
from tests.processes import System

pytestmark = pytest.mark.fault

PAUSE_MS = 120_000  # longer than anybody waits for what comes meanwhile
TWO_WAVES = plan(
    plan_step("a", "alpha"), plan_step("b", "beta", "a"), plan_step("c", "gamma", "a"),
)  # fmt: skip


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    endpoints: Endpoints,
    model: ModelServer,
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("waves")
    with django_db_blocker.unblock(), ai.running(folder, endpoints, model) as system:
        yield system


@pytest.fixture(autouse=True)
def fresh(endpoints: Endpoints, model: ModelServer) -> None:
    ai.forget(endpoints, model)
    model.on("plan", says_json(TWO_WAVES))


def test_a_worker_killed_strictly_between_two_waves_costs_time_and_no_second_call(
    system: System, endpoints: Endpoints, nemesis: Nemesis
) -> None:
    gate = threading.Event()
    endpoints.on("alpha", Does(gate=gate))
    execution = run()
    system.until(lambda: endpoints.calls("alpha"), what="the first wave runs")
    # Redis takes no message from now on: the second wave is decided, and nobody hears of it.
    system.broker.client_pause(PAUSE_MS, all=False)
    gate.set()
    second = {"alpha": "completed", "beta": "queued", "gamma": "queued"}
    system.until(lambda: ends(execution) == second, what="the second wave is decided")

    system.worker().kill()
    nemesis.strikes("killed between two waves")
    system.broker.client_unpause()
    has_begun = endpoints.calls("beta") or endpoints.calls("gamma")
    system.worker(threads=8)

    done = reaches(system, execution, "completed")
    assert not has_begun
    assert (done.outcome, done.attempt) == ("ok", 1)
    assert {name: len(endpoints.calls(name)) for name in NAMES[:3]} == dict.fromkeys(NAMES[:3], 1)
    begun = Event.objects.filter(execution_id=execution, type="step:started")
    assert begun.count() == Step.objects.filter(execution_id=execution).count() == 3
