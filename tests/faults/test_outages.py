"""Without Redis, or without PostgreSQL: what waits, what is said, and that all of it heals."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from executions_app import clock
from executions_app.models import Execution, SystemState
from scheduler_app import system as switch
from scheduler_app.models import FireRecord, Schedule
from tests.faults.nemesis import Nemesis
from tests.faults.oracle import wrong_fires
from tests.faults.outages import Caller, Postgresql, patiently, postgresql
from tests.faults.test_beats import wait_for_fires
from tests.journeys import scenario
from tests.journeys.scenario import begun, every, reaches, retries, run, schedule
from tests.journeys.web import serving
from tests.processes import LONGEST_SECONDS, System

pytestmark = pytest.mark.fault

POLICY: Final = {"overlap_policy": "allow", "catchup_policy": "all", "catchup_limit": 100}
SETTINGS: Final = {"LEASE_SECONDS": "15", "HEARTBEAT_SECONDS": "1"}
SECOND: Final = timedelta(seconds=1)
DRAINED_SECONDS: Final = 90.0
SLOW_SECONDS: Final = 15.0  # nothing is asked without an end
ANSWERED: Final = 16  # requests in a row, when all is well again
OF_A_BEAT: Final = "SELECT now() - scheduler_last_tick_at FROM system_state"


class Ordeal(NamedTuple):
    """So long stands Redis still; how slow anything may be is asked of the long form only."""

    seconds: float
    firing: int
    longest_lag: timedelta
    slow_seconds: float


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    with postgresql() as made:
        yield made


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    server: Postgresql,
) -> Iterator[System]:
    """One beat, one worker with threads and an idle one with processes."""
    folder = tmp_path_factory.mktemp("outage")
    with (
        django_db_blocker.unblock(),
        scenario.running(folder, threads=4, **SETTINGS) as system,
    ):
        system.worker("process", pool="prefork", threads=1)
        system.wait_ready()
        yield system


@pytest.fixture
def web(system: System) -> Iterator[str]:
    with serving(system) as url:
        yield url


def firing(count: int) -> list[Schedule]:
    return [schedule(**every(1, **POLICY)) for _ in range(count)]


def settled(system: System, many: list[Schedule], *, seconds: float) -> list[str]:
    """Wait for all fires up to now and until they have run; answers what is not as it must be."""
    ended = clock.now()
    wait_for_fires(system, many, until=ended)
    ids = [each.id for each in many]
    left = Execution.objects.filter(schedule_id__in=ids).exclude(status="completed")
    system.until(lambda: not left.exists(), what="everything has run", seconds=seconds)
    return list(wrong_fires(many, until=ended))


def lag() -> timedelta:
    """How long ago a beat last looked at the clock."""
    with connection.cursor() as cursor:
        cursor.execute(OF_A_BEAT)
        waited: timedelta = cursor.fetchone()[0]
    return waited


def passes(system: System, seconds: float) -> timedelta:
    """Let time pass; answers the longest that no beat looked at the clock meanwhile."""
    ends, longest = datetime.now(UTC) + timedelta(seconds=seconds), timedelta()

    def look() -> bool:
        nonlocal longest
        longest = max(longest, lag())
        return datetime.now(UTC) >= ends

    system.until(look, what="the time is over", seconds=seconds + LONGEST_SECONDS)
    return longest


def recovers(system: System) -> None:
    system.until(patiently(lambda: switch.read().status != "error"), what="the error is over")


@contextmanager
def without_deaths(system: System) -> Iterator[None]:
    """Nothing may end by itself meanwhile."""
    before = {each.name: (each.pid, each.deaths) for each in system.processes.values()}
    yield
    after = {each.name: (each.pid, each.deaths) for each in system.processes.values()}
    assert after == before


@pytest.mark.parametrize(
    "ordeal",
    [
        pytest.param(Ordeal(4.0, 5, 15 * SECOND, 60.0), id="short"),
        pytest.param(Ordeal(45.0, 20, 5 * SECOND, SLOW_SECONDS), id="long", marks=pytest.mark.long),
    ],
)
def test_a_redis_that_stands_still_stops_neither_beats_nor_answers(
    system: System, web: str, nemesis: Nemesis, ordeal: Ordeal
) -> None:
    many = firing(ordeal.firing)
    by_hand = f"/api/scheduler/schedules/{schedule(overlap_policy='allow').id}/trigger"
    fires = FireRecord.objects.filter(schedule_id=many[0].id)
    system.until(fires.exists, what="it fires")
    redis = system.redis_server()

    with without_deaths(system):
        with Caller(web, posts=[by_hand]) as caller:
            redis.pause()
            since, enough = time.monotonic(), fires.count() + ordeal.seconds
            try:
                longest = passes(system, ordeal.seconds)
                said = system.until(in_error, what="the system says so")
                goes_on(system, caller, by_hand, since=since)
                system.until(lambda: fires.count() >= enough, what="it goes on firing")
            finally:
                redis.resume()
            recovers(system)
        wrong = settled(system, many, seconds=DRAINED_SECONDS)

    assert "Redis is away" in said.problem
    assert longest < ordeal.longest_lag
    nemesis.found([*wrong, *caller.wrong(), *caller.slow(ordeal.slow_seconds)])


def in_error() -> SystemState | None:
    found = switch.read()
    return found if found.status == "error" else None


def goes_on(system: System, caller: Caller, path: str, *, since: float) -> None:
    """Who asks for this after that moment is answered, while the fault still lasts."""
    system.until(lambda: path in caller.served(since=since), what=f"{path} is answered meanwhile")


@contextmanager
def out_of_memory(system: System) -> Iterator[None]:
    system.broker.config_set("maxmemory-policy", "noeviction")
    system.broker.config_set("maxmemory", 1)
    yield
    system.broker.config_set("maxmemory", 0)


@contextmanager
def unable_to_save(system: System) -> Iterator[None]:
    """A Redis that must save and cannot: its folder is gone."""
    folder = system.folder / "gone"
    folder.mkdir()
    system.broker.config_set("dir", str(folder))
    folder.rmdir()
    system.broker.config_set("save", "3600 1")
    system.broker.bgsave()
    yield
    system.broker.config_set("dir", str(system.folder))
    system.broker.config_set("save", "")


@pytest.mark.parametrize(
    "without_space",
    [out_of_memory, pytest.param(unable_to_save, marks=pytest.mark.long)],
    ids=["OOM", "MISCONF"],
)
def test_a_redis_that_writes_nothing_loses_nothing(
    system: System, web: str, nemesis: Nemesis, without_space: Callable[..., Any]
) -> None:
    by_hand = f"/api/scheduler/schedules/{schedule(overlap_policy='allow').id}/trigger"
    unsent = Execution.objects.filter(status="queued", published_at=None)
    # MISCONF refuses even reads of a queue: Celery ends, and whoever watches it starts it again.
    is_read = without_space is out_of_memory

    with without_deaths(system) if is_read else nullcontext():
        with Caller(web, posts=[by_hand]) as caller:
            with without_space(system):
                nemesis.strikes("redis writes nothing")
                many = firing(5)
                said = system.until(in_error, what="the system says so")
                system.until(lambda: unsent.count() >= 5, what="what is due is kept")
                goes_on(system, caller, by_hand, since=time.monotonic())
            recovers(system)
        wrong = settled(system, many, seconds=DRAINED_SECONDS)

    assert "Redis is away" in said.problem
    nemesis.found([*wrong, *caller.wrong(), *([] if is_read else caller.slow(SLOW_SECONDS))])


@pytest.mark.parametrize(
    "times", [pytest.param(1, id="short"), pytest.param(5, id="long", marks=pytest.mark.long)]
)
def test_postgresql_may_end_without_a_word_and_come_back(
    system: System, web: str, server: Postgresql, nemesis: Nemesis, gate: Path, times: int
) -> None:
    many = firing(3)
    computed = run({"until": str(gate)}, retry_policy=retries(3))
    system.until(lambda: begun(system, computed), what="it runs")
    hook = schedule(trigger_type="event_driven", trigger_config={"source": "webhook"})
    posts = [
        f"/api/scheduler/schedules/{schedule(overlap_policy='allow').id}/trigger",
        f"/api/webhooks/{hook.id}",
    ]

    everything = {*Caller.PAGES, *Caller.READ, *posts}

    with without_deaths(system):
        with Caller(web, posts=posts) as caller:
            for _ in range(times):
                nemesis.strikes("postgresql ended")
                server.end()
                gate.touch()
                system.until(
                    partial(refuses, caller, everything, since=len(caller.answers)),
                    what="everybody who asks is told to ask later",
                )
                server.start()
                since = time.monotonic()
                system.until(
                    patiently(lambda: lag() < SECOND), what="a beat looks at the clock again"
                )
            system.until(
                lambda: is_answered(caller, everything, since=since), what="all is answered again"
            )
        done = reaches(system, computed, "completed", seconds=90)
        quick = reaches(system, run(priority="critical"), "completed")
        wrong = settled(system, many, seconds=DRAINED_SECONDS)

    assert (done.attempt, begun(system, computed)) in {(1, 1), (2, 2)}
    assert quick.attempt == 1
    nemesis.found([*wrong, *caller.wrong(), *(caller.slow(SLOW_SECONDS) if times > 1 else [])])


def refuses(caller: Caller, everything: set[str], *, since: int) -> bool:
    """True once all of these were refused, after so many answers."""
    return caller.refused(since=since) == everything


def is_answered(caller: Caller, everything: set[str], *, since: float) -> bool:
    """True once all of these were asked after that moment, and none of the last was refused."""
    asked = [one.path for one in caller.answers if one.began >= since]
    last = len(caller.answers) - ANSWERED
    return len(asked) >= ANSWERED and everything <= {*asked} and not caller.refused(since=last)


@pytest.mark.long
def test_connections_that_are_cut_again_and_again_cost_nothing_but_time(
    system: System, web: str, server: Postgresql, nemesis: Nemesis
) -> None:
    many = firing(5)
    ends = datetime.now(UTC) + timedelta(seconds=60)

    with without_deaths(system):
        with Caller(web) as caller:
            while datetime.now(UTC) < ends:
                nemesis.strikes("connections cut", times=server.terminate_backends())
                connection_lives(system, seconds=2.0)
        wrong = settled(system, many, seconds=DRAINED_SECONDS)

    assert caller.served() == {*Caller.PAGES, *Caller.READ}
    nemesis.found([*wrong, *caller.wrong(), *caller.slow(SLOW_SECONDS)])


def connection_lives(system: System, *, seconds: float) -> None:
    """Let time pass."""
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    system.until(lambda: datetime.now(UTC) >= until, what="the time is over")
