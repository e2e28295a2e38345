"""One running system per module, with a worker that does one thing at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.fakes.servers import endpoints as endpoints
from tests.fakes.servers import model as model
from tests.journeys import scenario, stories
from tests.journeys.stories import Around, Told
from tests.processes import System


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("journey")
    with django_db_blocker.unblock(), scenario.running(folder, threads=1) as system:
        yield system


@pytest.fixture
def system(living_system: System) -> Iterator[System]:
    """The module's system; what the journey leaves active is cancelled after it."""
    yield living_system
    scenario.clear(living_system)


@pytest.fixture(scope="module")
def begun(request: pytest.FixtureRequest, around: Around) -> dict[str, Told]:
    """All stories that a module's tests tell, begun at once: mostly they wait for a model."""
    found = stories.told_in(request.session.items, module=request.module)
    return {name: stories.begin(one, around) for name, one in found.items()}


@pytest.fixture
def told(request: pytest.FixtureRequest, begun: dict[str, Told], system: System) -> Told:
    """The story that the test names; of a module whose `around` and `system` say where."""
    del system
    return begun[str(request.param)]


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The file that runs with `until` wait for; `touch` opens it."""
    return tmp_path / "gate"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    system: Any = item.funcargs.get("system")
    if report.failed and report.when == "call" and isinstance(system, System):
        report.sections.append(("logs of the processes", system.logs()))
    return report
