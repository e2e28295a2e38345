"""A Redis that forgets everything, and messages that come more often than sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from executions_app.audit import SYSTEM
from executions_app.models import Execution, Process, SystemState
from scheduler_app import envelopes, epoch, schedules
from scheduler_app import system as switch
from tests.fakes.endpoint_server import Endpoints
from tests.fakes.model_server import ModelServer
from tests.faults import cycling
from tests.faults.conftest import THREADS
from tests.faults.nemesis import Nemesis
from tests.journeys import ai
from tests.journeys.scenario import begun, every, reaches, run, schedule
from tests.journeys.test_dispatch import completed, due_now
from tests.processes import System

pytestmark = pytest.mark.fault

# A model is kept waiting while hundreds of executions are made.
PATIENT = {"LLM_FIRST_TOKEN_SECONDS": "120", "LLM_TIMEOUT_SECONDS": "120"}


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    endpoints: Endpoints,
    model: ModelServer,
) -> Iterator[System]:
    """One whose AI schedules have a model."""
    folder = tmp_path_factory.mktemp("redis")
    with (
        django_db_blocker.unblock(),
        ai.running(folder, endpoints, model, threads=THREADS, **PATIENT) as system,
    ):
        yield system


def times_noticed(system: System) -> int:
    """How often a beat saw that Redis had forgotten, and had all queued work sent again."""
    return system.beat().log.read_text().count("Redis was restarted, emptied or set back")


@pytest.mark.parametrize("many", [50, pytest.param(500, marks=pytest.mark.long)])
def test_a_redis_that_lost_its_messages_costs_no_execution_and_no_attempt(
    system: System,
    gate: Path,
    endpoints: Endpoints,
    model: ModelServer,
    nemesis: Nemesis,
    many: int,
) -> None:
    standing = cycling.stand(system, endpoints, model)
    running = [run({"until": str(gate)}) for _ in range(THREADS - len(standing.executions))]
    for execution in running:
        reaches(system, execution, "running")
    idle = schedule(overlap_policy="allow")
    queued = [schedules.trigger(idle, actor=SYSTEM) for _ in range(many)]
    redis = system.redis_server()
    assert system.broker.llen("normal") >= many - THREADS

    noticed = times_noticed(system)
    redis.kill()
    system.redis_server()
    gate.touch()
    standing.gate.set()

    for execution in [*running, *queued]:
        assert reaches(system, execution, "completed").attempt == 1
        assert begun(system, execution) == 1
    for execution in standing.executions:
        done = reaches(system, execution, "completed")
        assert (done.outcome, done.attempt) == ("ok", 1)
    nemesis.found(cycling.contradictions(endpoints, standing.executions))
    assert times_noticed(system) == noticed + 1


def test_what_is_due_while_redis_is_away_is_recorded_and_runs_when_it_is_back(
    system: System,
) -> None:
    system.redis_server().kill()
    system.until(lambda: switch.read().status == "error", what="the system says so")
    once = schedule(**every(3600))
    due_now(once)

    recorded = system.until(
        lambda: Execution.objects.filter(schedule_id=once.id).first(), what="it is recorded"
    )
    system.redis_server()

    system.until(lambda: completed(once), what="it ran")
    system.until(lambda: switch.read().status != "error", what="the error is over")
    assert recorded.status == "queued"
    assert completed(once)[0].attempt == 1


def test_a_flushed_redis_is_noticed_without_a_restart(
    system: System, gate: Path, nemesis: Nemesis
) -> None:
    busy = [run({"until": str(gate)}) for _ in range(THREADS)]
    for execution in busy:
        reaches(system, execution, "running")
    waiting = [run() for _ in range(5)]

    noticed = times_noticed(system)
    system.broker.flushall()
    nemesis.strikes("Redis emptied")
    gate.touch()

    for execution in [*busy, *waiting]:
        assert reaches(system, execution, "completed").attempt == 1
    assert times_noticed(system) == noticed + 1


def test_a_redis_that_was_set_back_to_an_old_snapshot_costs_no_execution(
    system: System, gate: Path, nemesis: Nemesis
) -> None:
    system.until(lambda: system.broker.exists(epoch.KEY), what="a beat has counted")
    snapshot = everything_in(system)
    old_epoch = SystemState.objects.get().redis_epoch
    system.until(
        lambda: SystemState.objects.get().redis_epoch > old_epoch + epoch.SLACK + 1,
        what="some rounds have passed",
    )
    busy = [run({"until": str(gate)}) for _ in range(THREADS)]
    for execution in busy:
        reaches(system, execution, "running")
    waiting = [run() for _ in range(20)]

    noticed = times_noticed(system)
    set_back(system, snapshot)
    nemesis.strikes("Redis set back")
    gate.touch()

    for execution in [*busy, *waiting]:
        assert reaches(system, execution, "completed").attempt == 1
        assert begun(system, execution) == 1
    assert times_noticed(system) == noticed + 1


def everything_in(system: System) -> dict[bytes, bytes]:
    """All keys, as a snapshot keeps them."""
    found = {}
    for key in system.broker.scan_iter():
        if (content := system.broker.dump(key)) is not None:
            found[key] = content
    return found


def set_back(system: System, snapshot: dict[bytes, bytes]) -> None:
    """All at once, and without a restart: the run id stays, only the counter tells."""
    with system.broker.pipeline(transaction=True) as pipeline:
        pipeline.flushall()
        for key, content in snapshot.items():
            pipeline.restore(key, 0, content)
        pipeline.execute()


def refused_claims() -> int:
    """As the workers have told it so far."""
    workers = Process.objects.filter(kind="worker")
    return sum(workers.values_list("refused_claims", flat=True))


def test_every_message_five_times_is_every_execution_once(
    system: System, gate: Path, nemesis: Nemesis
) -> None:
    busy = [run({"until": str(gate)}) for _ in range(THREADS)]
    for execution in busy:
        reaches(system, execution, "running")
    refused_before = refused_claims()
    many = [run() for _ in range(20)]
    for execution in many:
        copies = envelopes.build([[execution]] * 4, queue="normal")
        system.broker.lpush("normal", *copies)
        nemesis.strikes("message doubled", times=len(copies))

    gate.touch()

    for execution in many:
        assert reaches(system, execution, "completed").attempt == 1
    system.until(lambda: not system.broker.llen("normal"), what="all messages were taken")
    reaches(system, run(), "completed")
    assert {begun(system, execution) for execution in many} == {1}
    system.until(lambda: refused_claims() > refused_before, what="the refusals are told")
