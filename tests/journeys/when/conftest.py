"""One system for all that says when to run: two beats, a worker, and a web to say it to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.journeys import scenario
from tests.journeys.web import serving
from tests.journeys.when import handlers
from tests.journeys.when.door import Door
from tests.processes import System

THREADS = 12


@pytest.fixture(scope="package")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("when")
    said = {"EXTRA_HANDLERS": handlers.EXTRA_HANDLERS, "LOW_PRIORITY_MAX_WAIT_SECONDS": "1"}
    with (
        django_db_blocker.unblock(),
        scenario.running(folder, threads=THREADS, **said) as system,
    ):
        system.beat("beat-2")
        yield system


@pytest.fixture(scope="package")
def door(living_system: System) -> Iterator[Door]:
    """An administrator who speaks REST to a real web process."""
    with serving(living_system) as url:
        yield Door.of(url)


@pytest.fixture(scope="module", autouse=True)
def cleared(living_system: System) -> Iterator[None]:
    """What a module's journeys leave active is cancelled after them."""
    yield
    scenario.clear(living_system)


@pytest.fixture
def system(living_system: System) -> System:
    return living_system
