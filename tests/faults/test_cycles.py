"""Cycles whose worker, messages or Redis go away: they end, and no finished call is made again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker

from agents_app.models import Cycle, Endpoint, ModelCall
from agents_app.objects import endpoints as registered
from agents_app.tasks import carry_out_stage, carry_out_step, look_at_wave
from executions_app.audit import SYSTEM
from executions_app.models import Execution, Step
from scheduler_app import schedules
from tests.fakes.endpoint_server import Does, Endpoints
from tests.fakes.model_server import ModelServer
from tests.faults import cycling
from tests.faults.cycling import OF_THE_DIAMOND, held_in
from tests.faults.lapsing import lapse, lapse_stages
from tests.faults.nemesis import Nemesis
from tests.journeys import ai, scenario
from tests.journeys.ai import result, run
from tests.journeys.scenario import begun, reaches, retries
from tests.processes import Process, System

pytestmark = pytest.mark.fault
LONG = pytest.mark.long


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    endpoints: Endpoints,
    model: ModelServer,
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("cycles")
    with django_db_blocker.unblock(), ai.running(folder, endpoints, model) as system:
        yield system


@pytest.fixture(autouse=True)
def fresh(
    living_system: System, endpoints: Endpoints, model: ModelServer, nemesis: Nemesis
) -> Iterator[None]:
    """A diamond of four endpoints; afterwards their ledger must agree with the steps."""
    cycling.script(endpoints, model)
    before = set(Execution.objects.values_list("id", flat=True))
    yield
    ran = set(Execution.objects.values_list("id", flat=True)) - before
    nemesis.found(cycling.contradictions(endpoints, ran))


@pytest.fixture
def single(system: System) -> Iterator[Process]:
    """The only worker, which does one thing after the other: the rest is in Redis."""
    system.worker().stop()
    only = system.worker("single", threads=1)
    system.wait_ready()
    yield only
    only.stop()


@pytest.mark.parametrize(
    "stage",
    ["plan", pytest.param("summarise", marks=LONG), pytest.param("schedule", marks=LONG)],
)
def test_a_worker_killed_in_a_stage_costs_time_and_no_second_call(
    system: System, endpoints: Endpoints, model: ModelServer, stage: str
) -> None:
    gate = threading.Event()
    has_come = held_in(model, stage, gate)
    execution = run(config={"autonomy": "shadow"})
    system.until(has_come.is_set, what=f"the model is asked for {stage}")

    lose_the_worker(system, gate)

    done = reaches(system, execution, "completed")
    assert (done.outcome, done.attempt) == ("ok", 1)
    assert sorted(call.name for call in endpoints.calls()) == ["alpha", "beta", "delta", "gamma"]


def test_a_worker_killed_in_mid_wave_repeats_only_what_had_not_ended(
    system: System, endpoints: Endpoints, nemesis: Nemesis
) -> None:
    gate = threading.Event()
    endpoints.on("gamma", Does(gate=gate), Does())
    execution = run()
    system.until(lambda: endpoints.calls("gamma"), what="the second wave runs")
    system.until(lambda: "completed" in ends_of(execution, "beta"), what="a step of it has ended")

    lose_the_worker(system, gate)

    done = reaches(system, execution, "completed")
    nemesis.checks(1)
    assert (done.outcome, done.attempt) == ("ok", 1)
    assert {name: len(endpoints.calls(name)) for name in OF_THE_DIAMOND} == {
        **dict.fromkeys(OF_THE_DIAMOND, 1),
        "gamma": 2,
    }
    keys = {call.key for call in endpoints.calls("gamma")}
    assert len(keys) == 1, "both tries of a step carry one Idempotency-Key"


@pytest.mark.usefixtures("single")
def test_a_redis_emptied_between_waves_costs_time_and_nothing_else(
    system: System, endpoints: Endpoints, nemesis: Nemesis, gate: Path
) -> None:
    held = threading.Event()
    endpoints.on("alpha", Does(gate=held))
    execution = run()
    system.until(lambda: endpoints.calls("alpha"), what="the first wave runs")
    urgent = comes_first(system, gate)
    held.set()
    system.until(lambda: begun(system, urgent), what="the worker has something else to do")
    second = {"alpha": "completed", "beta": "queued", "gamma": "queued", "delta": "planned"}
    assert ai.ends(execution) == second
    assert system.broker.llen("normal") >= 2, "both messages of the second wave stand in Redis"

    system.broker.flushall()
    nemesis.strikes("Redis emptied")
    gate.touch()

    done = reaches(system, execution, "completed")
    assert (done.outcome, done.attempt) == ("ok", 1)
    assert all(len(endpoints.calls(name)) == 1 for name in OF_THE_DIAMOND)


def test_steps_whose_messages_are_lost_are_sent_again(
    system: System,
    single: Process,
    endpoints: Endpoints,
    model: ModelServer,
    nemesis: Nemesis,
    gate: Path,
) -> None:
    held = threading.Event()
    has_come = held_in(model, "plan", held)
    execution = run()
    system.until(has_come.is_set, what="a plan is asked for")
    urgent = comes_first(system, gate)
    held.set()
    system.until(lambda: begun(system, urgent), what="the worker has something else to do")
    assert ends_of(execution, "alpha") == {"queued"}
    assert system.broker.llen("normal") >= 1, "the message of the step stands in Redis"

    single.kill()
    system.broker.flushall()
    nemesis.strikes("Redis emptied")
    gate.touch()
    lapse()
    system.worker(threads=8)

    done = reaches(system, execution, "completed")
    assert (done.outcome, done.attempt) == ("ok", 1)
    assert all(len(endpoints.calls(name)) == 1 for name in OF_THE_DIAMOND)


def test_messages_that_come_three_times_do_everything_once(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    gate = threading.Event()
    endpoints.on("alpha", Does(gate=gate))
    execution = run()
    system.until(lambda: endpoints.calls("alpha"), what="the first wave runs")
    cycle = Cycle.objects.get(execution_id=execution)
    steps = Step.objects.filter(execution_id=execution).values_list("id", flat=True)
    for _ in range(3):
        carry_out_stage(cycle_id=str(cycle.id))
        look_at_wave(cycle_id=str(cycle.id))
        for step in steps:
            carry_out_step(cycle_id=str(cycle.id), step_id=str(step))
    gate.set()

    done = reaches(system, execution, "completed")
    for _ in range(3):
        carry_out_stage(cycle_id=str(cycle.id))
        look_at_wave(cycle_id=str(cycle.id))
    assert done.outcome == "ok"
    assert all(len(endpoints.calls(name)) == 1 for name in OF_THE_DIAMOND)
    assert ModelCall.objects.filter(execution_id=execution, phase="plan").count() == 1


@pytest.mark.long
def test_a_step_that_kills_its_worker_each_time_is_given_up_after_three(
    system: System, endpoints: Endpoints
) -> None:
    gates = [threading.Event() for _ in range(3)]
    endpoints.on("beta", *(Does(gate=gate) for gate in gates))
    execution = run(retry_policy=retries(0))
    for nth, gate in enumerate(gates, start=1):
        has_come = partial(has_been_called, endpoints, "beta", nth)
        system.until(has_come, what=f"try {nth} of the step")
        lose_the_worker(system, gate)

    done = reaches(system, execution, "completed")
    assert done.outcome == "partial"
    by_name = {step["name"]: step for step in result(done)["steps"]}
    assert by_name["beta"]["error_class"] == "lost"
    assert by_name["delta"]["status"] == "skipped"


def test_an_endpoint_that_is_deleted_while_a_plan_names_it_is_called_no_more(
    system: System, endpoints: Endpoints, nemesis: Nemesis
) -> None:
    gate = threading.Event()
    endpoints.on("alpha", Does(gate=gate), Does())
    own = ai.schedule()
    first = schedules.trigger(own, actor=SYSTEM)
    system.until(lambda: endpoints.calls("alpha"), what="the first wave runs")

    # Behind the door, which refuses it as long as a schedule names it.
    kept = Endpoint.objects.get(name="gamma")
    words = registered.stored(kept)
    kept.delete()
    nemesis.strikes("endpoint deleted")
    gate.set()
    begun = reaches(system, first, "completed")
    later = reaches(system, schedules.trigger(own, actor=SYSTEM), "completed")

    registered.create(words, owner_id=scenario.owner_id(), actor=SYSTEM)
    assert (begun.outcome, ai.ends(first)["gamma"]) == ("partial", "failed")
    assert "gamma" not in ai.ends(later.id)
    assert any("gamma" in note for note in result(later)["notes"])
    assert not endpoints.calls("gamma")
    assert [len(endpoints.calls(name)) for name in ("alpha", "beta")] == [2, 2]


def comes_first(system: System, gate: Path) -> UUID:
    """The message of something that lasts until the gate is open, before all of the cycle's."""
    urgent = scenario.run({"until": str(gate)}, priority="critical", retry_policy=retries(1))
    system.until(lambda: system.broker.llen("critical"), what="its message stands in Redis")
    return urgent


def lose_the_worker(system: System, gate: threading.Event) -> None:
    """The only one is killed, and what it held runs out of its leases; then there is another."""
    system.processes["worker"].kill()
    gate.set()
    lapse()
    lapse_stages()
    system.worker(threads=8)


def has_been_called(endpoints: Endpoints, name: str, times: int) -> bool:
    return len(endpoints.calls(name)) == times


def ends_of(execution: UUID, name: str) -> set[str]:
    found = Step.objects.filter(execution_id=execution, name=name)
    return set(found.values_list("status", flat=True))
