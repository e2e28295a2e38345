"""One system per module that is treated badly, healed, and must then be found in order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.fakes.servers import endpoints as endpoints
from tests.fakes.servers import model as model
from tests.faults.nemesis import Nemesis
from tests.faults.recording import PROPERTY
from tests.journeys import scenario
from tests.journeys.conftest import gate, pytest_runtest_makereport  # noqa: F401
from tests.processes import System

THREADS = 4


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("fault")
    with django_db_blocker.unblock(), scenario.running(folder, threads=THREADS) as system:
        yield system


@pytest.fixture(autouse=True)
def nemesis(seed: int, request: pytest.FixtureRequest) -> Iterator[Nemesis]:
    """The book of this test; its line is told when the test is over."""
    book = Nemesis(seed)
    yield book
    told = {"seed": seed, "faults": dict(book.faults), "executions": book.executions}
    line = {**told, "violations": len(book.violations)}
    request.node.user_properties.append((PROPERTY, line))


@pytest.fixture
def system(living_system: System, nemesis: Nemesis) -> Iterator[System]:
    """The module's system, whole again after every fault; then every invariant is looked at."""
    nemesis.watch(living_system)
    yield living_system
    living_system.redis_server()
    living_system.beat()
    living_system.worker(threads=THREADS)
    living_system.wait_ready()
    scenario.clear(living_system)
    nemesis.look(living_system)
