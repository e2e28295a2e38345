"""Hosts whose clocks are far off: PostgreSQL's decides, and every row lies where it belongs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from django.db import connection
from django.db.models import F
from pytest_django import DjangoDbBlocker

from executions_app import clock
from executions_app.models import Execution
from scheduler_app.models import FireRecord
from tests.faults.conftest import THREADS
from tests.faults.nemesis import Nemesis
from tests.faults.test_beats import assert_each_fire_ran_once, steady, wait_for_fires
from tests.faults.work import MOST_BUSY, share_of_a_processor
from tests.journeys import scenario
from tests.journeys.scenario import reaches, retries, run
from tests.processes import CHECKOUT, System

pytestmark = [pytest.mark.fault, pytest.mark.long]

SKEWED: Final = str(Path(__file__).parent / "skewed")
OFF_BY: Final = {
    "45 days ahead": timedelta(days=45),
    "at 1970": -timedelta(seconds=datetime.now(UTC).timestamp() - 86_400),
}
WHERE: Final = """
SELECT DISTINCT tableoid::regclass::text FROM task_executions
UNION SELECT DISTINCT tableoid::regclass::text FROM fire_records
UNION SELECT DISTINCT tableoid::regclass::text FROM events
UNION SELECT DISTINCT tableoid::regclass::text FROM error_records
"""


@pytest.fixture(params=OFF_BY)
def system(
    request: pytest.FixtureRequest,
    nemesis: Nemesis,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """A beat and a worker on a host with a wrong clock."""
    folder = tmp_path_factory.mktemp("host")
    wrong = wrong_clock(request.param)
    with django_db_blocker.unblock(), scenario.running(folder, threads=THREADS) as system:
        for name in ("beat", "worker"):
            system.processes[name].stop()
        system.beat("wrong-beat", **wrong)
        system.worker("wrong-worker", threads=THREADS, **wrong)
        system.wait_ready()
        nemesis.watch(system)
        nemesis.strikes("clock wrong", times=2)
        yield system
        nemesis.look(system)


def wrong_clock(name: str) -> dict[str, str]:
    """What a process of such a host has in its environment."""
    return {"PYTHONPATH": SKEWED, "HOST_CLOCK_OFF_BY": str(OFF_BY[name].total_seconds())}


def test_a_host_whose_clock_is_wrong_fires_runs_and_stores_everything_in_its_time(
    system: System, request: pytest.FixtureRequest
) -> None:
    began = clock.now()
    many = steady(10)
    failing = run({"fails": 1}, retry_policy=retries(1))
    until = datetime.now(UTC) + timedelta(seconds=3)

    system.until(lambda: datetime.now(UTC) >= until, what="some fires have come")
    system.beat()  # a right clock beside the wrong one doubles nothing
    until = datetime.now(UTC) + timedelta(seconds=2)
    wait_for_fires(system, many, until=until)

    assert reaches(system, failing, "completed").attempt == 2
    assert_each_fire_ran_once(system, many)
    assert FireRecord.objects.filter(nominal_at__lt=began).count() == 0
    months = {f"{at:%Y_%m}" for at in (began, clock.now())}
    assert {name[-7:] for name in partitions_in_use()} <= months
    assert not Execution.objects.exclude(
        created_at__lte=F("started_at"), started_at__lte=F("completed_at")
    ).exists()
    assert share_of_a_processor(system, "wrong-beat") < MOST_BUSY
    told = system.processes["wrong-beat"].log.read_text(errors="replace")
    assert "PostgreSQL's decides what is due; let NTP set both" in told
    assert "this machine and PostgreSQL differ by" in warned_of(
        system, request.node.callspec.params["system"]
    )


def warned_of(system: System, off_by: str) -> str:
    """What `doctor` warns of on such a host."""
    asked = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=CHECKOUT,
        env={**system.environment, **wrong_clock(off_by)},
        capture_output=True,
        text=True,
        check=False,
    )
    checks = json.loads(asked.stdout)["checks"]
    return "\n".join(one["fact"] for one in checks if one["level"] == "warn")


def partitions_in_use() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(WHERE)
        return [name for (name,) in cursor.fetchall()]
