"""Two beats that keep dying between any two statements: every fire still comes once, none twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import pytest
from pytest_django import DjangoDbBlocker

from tests.faults import workload
from tests.faults.failing_beats import FailingBeats
from tests.faults.nemesis import Nemesis
from tests.faults.sampling import Sampler
from tests.journeys import scenario
from tests.processes import System

pytestmark = pytest.mark.fault

WORKERS: Final = ("worker", "worker-2", "worker-3")
THREADS: Final = 4
# Long enough that a worker held up by a busy machine is not taken for dead: none dies here.
PATIENT: Final = {"LEASE_SECONDS": "15", "HEARTBEAT_SECONDS": "1"}


class Ordeal(NamedTuple):
    """How much is done to how many schedules, for how long, with how many deaths at least."""

    schedules: int
    seconds: float
    life_seconds: tuple[float, float]
    deaths: int


SHORT: Final = Ordeal(60, 20.0, (0.2, 2.0), 4)
LONG: Final = Ordeal(200, 600.0, (0.2, 12.0), 60)


@pytest.fixture
def system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory, nemesis: Nemesis
) -> Iterator[System]:
    """Three workers and a database of its own for each ordeal; it starts without a beat."""
    folder = tmp_path_factory.mktemp("when")
    with (
        django_db_blocker.unblock(),
        scenario.running(folder, threads=THREADS, **PATIENT) as system,
    ):
        system.processes["beat"].kill()
        for name in WORKERS[1:]:
            system.worker(name, threads=THREADS)
        system.wait_ready()
        nemesis.watch(system)
        yield system
        nemesis.look(system)


@pytest.mark.parametrize(
    "ordeal",
    [
        pytest.param(SHORT, id="for twenty seconds"),
        pytest.param(LONG, id="for ten minutes", marks=pytest.mark.long),
    ],
)
def test_beats_that_die_between_any_two_statements_lose_no_fire_and_double_none(
    system: System, ordeal: Ordeal, nemesis: Nemesis
) -> None:
    made = workload.make(ordeal.schedules, seed=nemesis.seed)
    failing = FailingBeats(system, seed=nemesis.seed, seconds=ordeal.life_seconds)
    ends = datetime.now(UTC) + timedelta(seconds=ordeal.seconds)

    with Sampler(system.environment["DATABASE_URL"], made.limits) as sampler:
        beats = [failing.start(name) for name in ("beat-1", "beat-2")]
        system.until(
            lambda: datetime.now(UTC) >= ends and failing.deaths().total() >= ordeal.deaths,
            what="the time is over, and they have died often enough",
            seconds=max(3 * ordeal.seconds, 240),
        )
        ended = datetime.now(UTC)
        for one in beats:
            one.kill()
        system.beat()
        workload.end(system, at=ended)

    nemesis.found([*workload.violations(system, made), *sampler.exceeded()])
