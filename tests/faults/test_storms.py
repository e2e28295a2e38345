"""Connections to Redis that keep breaking, and endpoints that fail in seven of ten calls."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import redis
from django.db.models import F, QuerySet
from pytest_django import DjangoDbBlocker

from config.demo.ledger import Call
from errors_app.breakers.refusal import BreakerOpen
from errors_app.models import Breaker, ErrorRecord
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import schedules
from scheduler_app.models import Schedule
from tests.faults.nemesis import Nemesis
from tests.faults.stormy import RESET, Stormy, stormy
from tests.journeys import scenario
from tests.journeys.scenario import every, reaches, retries, run, schedule
from tests.processes import System

pytestmark = pytest.mark.fault

WIDE = 24
ORIGINS = 4
PACE = {"base_ms": 100, "cap_ms": 400, "jitter": "full"}
SOONEST_AFTER_429 = 0.35  # the cap of the policy bounds the second that the endpoint asks for
FEWEST_OWN_RETRIES = 5  # below which their pauses show nothing
PATIENT_MS = 20_000
OF_THE_SILENT_MS = 2_000  # so long wait those to whom nothing is said
MOST_LATER = timedelta(seconds=60)  # of a second attempt, behind all the first ones


STEADILY = every(1, catchup_policy="all", catchup_limit=100)


class Ordeal(NamedTuple):
    executions: int
    seconds: float
    is_timed: bool


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A system whose worker may call this machine, and many calls at once."""
    folder = tmp_path_factory.mktemp("storms")
    allow = {"OUTBOUND_ALLOW": "127.0.0.1", "BREAKER_COOLDOWN_SECONDS": "1"}
    with django_db_blocker.unblock(), scenario.running(folder, threads=WIDE, **allow) as system:
        yield system


@pytest.fixture
def calm(tmp_path: Path, seed: int) -> Iterator[Stormy]:
    """Endpoints that are well."""
    with stormy(tmp_path / "calm", seed=seed) as server:
        yield server


@pytest.fixture
def storms(tmp_path: Path, seed: int) -> Iterator[list[Stormy]]:
    """Endpoints of several origins that fail in seven of ten calls."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(stormy(tmp_path / f"storm-{number}", seed=seed))
            for number in range(ORIGINS)
        ]


@pytest.mark.parametrize(
    ("cuts", "pause"),
    [(6, 0.5), pytest.param(40, 3.0, marks=pytest.mark.long)],
    ids=["six times", "forty times"],
)
def test_connections_that_are_cut_all_the_time_let_nothing_run_twice(
    system: System, nemesis: Nemesis, cuts: int, pause: float
) -> None:
    worker, pid, deaths = system.worker(), system.worker().pid, system.worker().deaths
    policy = {"overlap_policy": "allow", "catchup_policy": "all", "catchup_limit": 100}
    steady = [
        schedule({"seconds": 0.6}, **every(1, **policy), retry_policy=retries(5)) for _ in range(4)
    ]

    for _ in range(cuts):
        moment = datetime.now(UTC) + timedelta(seconds=nemesis.chance.uniform(0.5, 1.5) * pause)
        system.until(lambda moment=moment: datetime.now(UTC) >= moment, what="it is time")  # type: ignore[misc]
        nemesis.strikes("connection cut", times=cut_all(system))

    for one in steady:
        schedules.disable(one.id, actor=SYSTEM)
    ran = Execution.objects.filter(schedule_id__in=[one.id for one in steady])
    system.until(lambda: not ran.exclude(status="completed").exists(), what="all have run")
    reaches(system, run(), "completed")
    assert (worker.is_alive(), worker.pid, worker.deaths) == (True, pid, deaths)
    assert ran.count() >= cuts
    nemesis.found(overlapping(system))


def cut_all(system: System) -> int:
    """Break every connection to Redis but the one that says so."""
    cut = 0
    for kind in ("normal", "pubsub"):
        with contextlib.suppress(redis.ConnectionError):
            cut += int(system.broker.client_kill_filter(_type=kind, skipme=True))
    return cut


def overlapping(system: System) -> Iterator[str]:
    """Executions of which two attempts ran at once, as their handler wrote down itself."""
    running: defaultdict[str, int] = defaultdict(int)
    for entry in sorted(system.entries(), key=lambda one: one["at"]):
        running[entry["execution"]] += 1 if entry["what"] == "began" else -1
        if running[entry["execution"]] > 1:
            yield f"{entry['execution']} ran twice at once from {entry['at']}"


@pytest.mark.parametrize(
    "ordeal",
    [
        pytest.param(Ordeal(80, 6.0, is_timed=False), id="eighty"),
        pytest.param(
            Ordeal(2_000, 120.0, is_timed=True), id="two thousand", marks=pytest.mark.long
        ),
    ],
)
def test_a_storm_of_failures_is_counted_exactly_and_leaves_the_healthy_alone(
    system: System, calm: Stormy, storms: list[Stormy], nemesis: Nemesis, ordeal: Ordeal
) -> None:
    healthy = [call(calm, "/steady", timeout_ms=PATIENT_MS, **STEADILY) for _ in range(5)]
    until = datetime.now(UTC) + timedelta(seconds=ordeal.seconds)

    ids = storm(storms, ordeal.executions)
    left = Execution.objects.filter(id__in=ids).exclude(status__in=["completed", "failed"])
    system.until(
        lambda: datetime.now(UTC) >= until and not left.exists(),
        what="the storm is over",
        seconds=20 * ordeal.seconds,
    )

    over_at = datetime.now(UTC)
    for one in healthy:
        schedules.disable(one.id, actor=SYSTEM)
    system.until(
        lambda: not of_calm(healthy).exclude(status="completed"), what="all have run", seconds=120
    )
    failures = sum((one.failures() for one in storms), Counter[str]())
    for kind, times in failures.items():
        nemesis.strikes(kind, times=times)
    calls = {key: some for one in storms for key, some in one.calls().items()}
    nemesis.found([*miscounted(calls, ids), *hasty(calls)])
    if ordeal.is_timed:
        nemesis.found([*disturbed(healthy, over_at), *retried_late(ids)])
    assert len(failures) >= 3  # of five kinds; breakers keep most calls from being made
    assert Breaker.objects.filter(opened_count__gt=0).exists()
    assert has_jitter(ids)


def call(endpoints: Stormy, path: str, *, timeout_ms: int, **words: Any) -> Schedule:
    config = {"url": f"{endpoints.url}{path}", "timeout_ms": timeout_ms}
    return schedule(task_type="http_request", task_config=config, overlap_policy="allow", **words)


def storm(storms: list[Stormy], count: int) -> list[UUID]:
    """So many executions by hand, each of an endpoint of its own, spread over the origins."""
    policy = retries(3, **PACE)
    targets = [
        call(
            storms[number % ORIGINS],
            f"/storm/{number}",
            timeout_ms=OF_THE_SILENT_MS,
            retry_policy=policy,
        )
        for number in range(count)
    ]
    return [schedules.trigger(one, actor=SYSTEM) for one in targets]


def of_calm(healthy: list[Schedule]) -> QuerySet[Execution]:
    return Execution.objects.filter(schedule_id__in=[one.id for one in healthy])


def miscounted(calls: Mapping[str, list[Call]], ids: list[UUID]) -> Iterator[str]:
    """Executions of which rows and ledger do not agree to the call.

    An attempt that a breaker refuses makes no call, so there may be fewer calls than attempts. A
    good answer is of no use to who had given up when it came.
    """
    errors = ErrorRecord.objects.filter(execution_id__in=ids)
    failed = Counter(errors.values_list("execution_id", flat=True))
    gave_up = set(errors.filter(error_class="timeout").values_list("execution_id", "attempt"))
    for one in Execution.objects.filter(id__in=ids):
        made = calls.get(str(one.id), [])
        good = [each for each in made if each.was_good and (one.id, each.attempt) not in gave_up]
        is_completed = one.status == "completed"
        told = (one.attempt, failed[one.id], len(good))
        if told[0] != told[1] + told[2] or told[2] != is_completed:
            yield f"#{one.number} {one.status}: attempts, errors, good answers are {told}"
        if not {each.attempt for each in made} <= set(range(1, one.attempt + 1)):
            yield f"#{one.number}: {len(made)} calls in {one.attempt} attempts"


def hasty(calls: Mapping[str, list[Call]]) -> Iterator[str]:
    """Calls that came sooner than the endpoint had asked for, or twice in one attempt.

    A GET over a kept connection that is found closed is sent once more over a new one.
    """
    for key, made in calls.items():
        for before, then in pairwise(made):
            pause = then.arrived_at - (before.ended_at or before.arrived_at)
            if before.status == 429 and pause < SOONEST_AFTER_429:
                yield f"{key}: again {pause:.2f} s after 429"
            if then.attempt == before.attempt and before.status != RESET:
                yield f"{key}: attempt {then.attempt} called twice"


def disturbed(healthy: list[Schedule], over_at: datetime) -> Iterator[str]:
    """Of the healthy fires of the storm's time, nine of ten have to be done when it is over."""
    of_the_storm = of_calm(healthy).filter(nominal_at__lt=over_at - timedelta(seconds=1))
    done = of_the_storm.filter(completed_at__lte=over_at).count()
    if done < 0.9 * of_the_storm.count():
        yield f"of {of_the_storm.count()} healthy fires {done} were done"


def retried_late(ids: list[UUID]) -> Iterator[str]:
    """Second attempts that began long after they were due."""
    second = Execution.objects.filter(
        id__in=ids, attempt=2, started_at__gt=F("due_at") + MOST_LATER
    )
    for one in second:
        assert one.started_at is not None
        yield f"#{one.number}: its second attempt began {one.started_at - one.due_at} late"


def has_jitter(ids: list[UUID]) -> bool:
    """True if retries of the same attempt do not come after the same pause.

    Without those of which something else than the policy says when: a breaker, or the endpoint.
    """
    rows = ErrorRecord.objects.filter(execution_id__in=ids, attempt=1)
    told = rows.exclude(exception_type=BreakerOpen.__qualname__)
    pauses = [
        retry_at - ended_at
        for retry_at, ended_at, context in told.values_list("retry_at", "ended_at", "context")
        if retry_at is not None and context.get("response", {}).get("status") != 429
    ]
    return len(pauses) >= FEWEST_OWN_RETRIES and len(set(pauses)) > len(pauses) / 2
