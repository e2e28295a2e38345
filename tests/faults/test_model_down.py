"""A model that is away for a long time, and comes back, while its schedules keep firing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pytest
import requests
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from agents_app.models import Cycle, ModelCall, Tier
from executions_app import tokens
from executions_app.models import Execution, Step
from scheduler_app.models import FireRecord, Schedule, ScheduleDecision
from tests.fakes.endpoint_server import Endpoints
from tests.faults import cycling
from tests.faults.absent import CALLED, LOWER, QUICKLY, Absent, Way, absent
from tests.faults.nemesis import Nemesis
from tests.faults.oracle import wrong_fires
from tests.faults.test_beats import wait_for_fires
from tests.journeys import ai, scenario
from tests.journeys.scenario import every
from tests.journeys.web import serving
from tests.processes import System

pytestmark = pytest.mark.fault

ENDED: Final = ["completed", "failed", "cancelled"]
PAGE: Final = 100
PATIENCE_SECONDS: Final = 240.0  # cycles are work, and a slow machine may fall behind
# How AI schedules may be set up such that what stands in for the model leaves their times alone.
SET_UPS: Final[tuple[dict[str, Any], ...]] = (
    {"autonomy": "auto", "fallback": "interval", "strict": True},
    {"autonomy": "propose", "fallback": "adaptive"},
    {"autonomy": "auto", "fallback": "last_good"},
    {"autonomy": "off"},
)


class Ordeal(NamedTuple):
    """For so many periods the model is away, a fourth of them in each way."""

    periods: int
    schedules: int
    period_seconds: int


@pytest.fixture(scope="module")
def model(seed: int) -> Iterator[Absent]:
    with absent(seed=seed) as server:
        yield server


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    endpoints: Endpoints,
    model: Absent,
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("down")
    with (
        django_db_blocker.unblock(),
        ai.running(folder, endpoints, model, threads=8, **QUICKLY) as system,
    ):
        yield system


@pytest.fixture
def web(system: System) -> Iterator[str]:
    """The address of a real web process."""
    with serving(system) as url:
        yield url


@pytest.fixture(autouse=True)
def fresh(endpoints: Endpoints, model: Absent) -> None:
    endpoints.forget()
    model.returns()


def planned(number: int, *, period_seconds: int) -> Schedule:
    """An AI schedule that fires at this pace; every one is set up otherwise."""
    words = SET_UPS[number % len(SET_UPS)]
    config = {"endpoints": CALLED, "min_interval_ms": 1_000, **words}
    policy = {"overlap_policy": "allow", "catchup_policy": "all", "catchup_limit": 100}
    return ai.schedule(config=config, **every(period_seconds, **policy))


def runs_of(one: Schedule, *, since: datetime, until: datetime | None = None) -> Any:
    """Its executions of planned instants after `since`, and not after `until`."""
    found = Execution.objects.filter(schedule_id=one.id, nominal_at__gt=since)
    return found if until is None else found.filter(nominal_at__lte=until)


def is_planned_by_the_model(one: Schedule, *, since: datetime) -> bool:
    done = runs_of(one, since=since).filter(status="completed", outcome="ok")
    tiers = Cycle.objects.filter(execution_id__in=done.values_list("id", flat=True))
    return tiers.filter(tier=Tier.MODEL).exists()


def has_failed(since: datetime) -> bool:
    return (
        ModelCall.objects.filter(created_at__gt=since)
        .filter(status__in=["failed", "malformed"])
        .exists()
    )


def goes_away(
    system: System, model: Absent, nemesis: Nemesis, many: Sequence[Schedule], *, periods: int
) -> None:
    """In each way for a while: so many fires of each schedule, and some question at least."""
    ways = list(Way)
    nemesis.chance.shuffle(ways)
    for way in ways:
        began = datetime.now(UTC)
        model.goes(way)
        nemesis.strikes(f"model {way}")
        system.until(
            lambda began=began: (
                has_failed(began)  # type: ignore[misc]
                and all(runs_of(one, since=began).count() >= periods for one in many)
            ),
            what=f"{periods} fires of each while the model {way}",
            seconds=PATIENCE_SECONDS,
        )


def fires_of(many: Sequence[Schedule]) -> Any:
    return FireRecord.objects.filter(schedule_id__in=[one.id for one in many])


def all_ended(many: Sequence[Schedule], *, until: datetime) -> bool:
    ids = [one.id for one in many]
    if Schedule.objects.filter(id__in=ids, enabled=True, next_run_at__lte=until).exists():
        return False
    due = fires_of(many).filter(nominal_at__lte=until).values_list("execution_id", flat=True)
    return not Execution.objects.filter(id__in=due).exclude(status__in=ENDED).exists()


def shown(web: str, one: Schedule) -> Iterator[dict[str, Any]]:
    """What the REST API shows of its executions."""
    _, token = tokens.create(
        User.objects.get(id=scenario.owner_id()), name="tests", now=timezone.now()
    )
    headers = {"Authorization": f"Bearer {token}"}
    url: str | None = f"{web}/api/execution/executions?schedule_id={one.id}&page_size={PAGE}"
    while url:
        answer = requests.get(url, headers=headers, timeout=30)
        answer.raise_for_status()
        page = answer.json()
        yield from page["results"]
        url = page["next"]


def wrong_tiers(
    runs: Collection[dict[str, Any]], *, since: datetime, until: datetime
) -> Iterator[str]:
    """Runs without a model that do not say so."""
    for one in runs:
        nominal_at = datetime.fromisoformat(one["nominal_at"])
        if since < nominal_at <= until and not (
            one["tier"] in LOWER and (one["status"], one["outcome"]) == ("completed", "degraded")
        ):
            yield f"#{one['number']} is {one['status']}, {one['outcome']}, tier {one['tier']}"


def incomplete(many: Sequence[Schedule]) -> Iterator[str]:
    """Executions that are not completed at once, or did not call all that they are for."""
    for one in Execution.objects.filter(schedule_id__in=[each.id for each in many]):
        steps = Step.objects.filter(execution_id=one.id, status="completed")
        names = sorted(steps.values_list("name", flat=True))
        if (one.status, one.attempt, names) != ("completed", 1, CALLED):
            yield f"#{one.number} is {one.status} in attempt {one.attempt} with {names}"


def other_times(many: Sequence[Schedule]) -> Iterator[str]:
    """Runs at other times than the schedule's own that an AI, or what stands in for it, wanted."""
    acting = [one.id for one in many if one.task_config["autonomy"] == "auto"]
    for one in ScheduleDecision.objects.filter(schedule_id__in=acting).exclude(kind="keep"):
        yield f"{one.source} wanted {one.kind} {one.proposed}, which is {one.status}"


@pytest.mark.parametrize(
    "ordeal",
    [
        pytest.param(Ordeal(4, 2, 1), id="four periods"),
        pytest.param(Ordeal(60, 4, 2), id="sixty periods", marks=pytest.mark.long),
    ],
)
def test_every_schedule_keeps_its_cadence_while_its_model_is_away_and_notices_its_return(
    system: System, web: str, endpoints: Endpoints, model: Absent, nemesis: Nemesis, ordeal: Ordeal
) -> None:
    began = datetime.now(UTC)
    early = [
        planned(number, period_seconds=ordeal.period_seconds)
        for number in range(ordeal.schedules // 2)
    ]
    system.until(
        lambda: all(is_planned_by_the_model(one, since=began) for one in early),
        what="the model plans",
    )
    lives = {name: (one.pid, one.deaths) for name, one in system.processes.items()}

    model.goes(Way.REFUSED)
    went_at = datetime.now(UTC)
    many = early + [
        planned(number, period_seconds=ordeal.period_seconds)
        for number in range(len(early), ordeal.schedules)
    ]
    goes_away(system, model, nemesis, many, periods=ordeal.periods // len(Way))
    ended_at = datetime.now(UTC)
    system.until(
        lambda: all_ended(many, until=ended_at),
        what="all have run without a model",
        seconds=PATIENCE_SECONDS,
    )
    model.returns()
    came_at = datetime.now(UTC)
    system.until(
        lambda: all(is_planned_by_the_model(one, since=came_at) for one in many),
        what="the model plans again",
    )

    until = datetime.now(UTC)
    wait_for_fires(system, many, until=until)
    ran = Execution.objects.filter(schedule_id__in=[one.id for one in many])
    system.until(
        lambda: not ran.exclude(status__in=ENDED).exists(),
        what="all have ended",
        seconds=PATIENCE_SECONDS,
    )
    assert lives == {name: (one.pid, one.deaths) for name, one in system.processes.items()}
    runs = [run for one in many for run in shown(web, one)]
    assert len(runs) == ran.count() == fires_of(many).count()
    nemesis.found(
        [
            *wrong_fires(many, until=until),
            *incomplete(many),
            *wrong_tiers(runs, since=went_at, until=ended_at),
            *other_times(many),
            *cycling.contradictions(endpoints, set(ran.values_list("id", flat=True))),
        ]
    )
    assert {run["tier"] for run in runs} == {Tier.MODEL, *LOWER}
