"""A thread that does not stop after its time limit: its worker cannot end it, and goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.faults.bare import bare_system
from tests.faults.nemesis import Nemesis
from tests.journeys import scenario
from tests.journeys.scenario import begun, errors, letter, reaches, retries, run
from tests.processes import SHORT_LEASE, System

pytestmark = pytest.mark.fault


@pytest.fixture
def system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    nemesis: Nemesis,
) -> Iterator[System]:
    """One beat, and one worker with two threads."""
    folder = tmp_path_factory.mktemp("threads")
    with django_db_blocker.unblock(), bare_system(folder, **SHORT_LEASE) as made:
        made.beat()
        made.worker(threads=2)
        made.wait_ready()
        nemesis.watch(made)
        yield made
        scenario.clear(made)
        nemesis.look(made)


def test_work_that_does_not_stop_is_begun_once_and_its_worker_serves_others(
    system: System, nemesis: Nemesis
) -> None:
    worker = system.worker()
    nemesis.strikes("deaf thread")
    deaf = run({"poison": "deaf"}, timeout_ms=1500, retry_policy=retries(3))

    given_up = reaches(system, deaf, "failed")
    others = [reaches(system, run(), "completed") for _ in range(3)]

    assert (given_up.outcome, given_up.attempt, begun(system, deaf)) == ("timeout", 1, 1)
    assert [each.error_class for each in errors(deaf)] == ["timeout"]
    assert "may still run" in errors(deaf)[0].context["given_up"]
    assert f":{worker.pid}:" in letter(deaf).message
    assert "still runs in thread" in letter(deaf).message
    assert {(each.attempt, each.worker_id) for each in others} == {(1, given_up.worker_id)}
    assert worker.deaths == 0
