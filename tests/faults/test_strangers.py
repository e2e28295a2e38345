"""What comes from outside: the same again and again, what makes no sense, and garbage."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoDbBlocker
from standardwebhooks import Webhook

from errors_app.models import ErrorRecord
from executions_app import tokens
from executions_app.audit import SYSTEM
from executions_app.models import Execution
from scheduler_app import envelopes
from scheduler_app.models import Schedule
from scheduler_app.sources import webhook_secrets
from tests.faults.conftest import THREADS
from tests.faults.nemesis import Nemesis
from tests.journeys import scenario
from tests.journeys.scenario import begun, every, owner_id, reaches, retries, run, schedule
from tests.journeys.test_dispatch import due_now, fires, force, stray
from tests.journeys.web import serving
from tests.processes import System

pytestmark = pytest.mark.fault

TIMES = 20
BACK = timedelta(seconds=10)
QUEUES = ("critical", "high", "normal", "low")
GARBAGE = ("garbage{", "null", "[]", '{"body": 7}', "\x00\xff")
WRONG: dict[str, dict[str, Any]] = {
    "a day that never comes": {"schedule_config": {"cron": "0 0 30 2 *"}},
    "six fields": {"schedule_config": {"cron": "* * * * * *"}},
    "a random field": {"schedule_config": {"cron": "R * * * *"}},
    "no such zone": {"timezone": "Mars/Olympus"},
    "no such task type": {"task_type": "nobody_knows"},
    "a config that is no object": {"task_config": ["no", "object"]},
    "arguments of a megabyte": {"task_config": {"until": "x" * 1_048_576}},
    "a policy that is none": {"overlap_policy": "perhaps"},
}
# What no door lets in, put there by SQL.
CORRUPT: dict[str, dict[str, Any]] = {
    "a day that never comes": {
        "schedule_config": json.dumps({"cron": "0 0 30 2 *"}),
        "schedule_type": "cron",
    },
    "a random field": {
        "schedule_config": json.dumps({"cron": "R * * * *"}),
        "schedule_type": "cron",
    },
    "no object": {"schedule_config": json.dumps(["no", "object"])},
    "no such zone": {"timezone": "Mars/Olympus"},
    "no such kind": {"schedule_type": "lunar"},
    "no such number": {"retry_policy": json.dumps({"max_retries": "many"})},
}


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("strangers")
    with django_db_blocker.unblock(), scenario.running(folder, threads=THREADS) as system:
        yield system


@pytest.fixture
def web(system: System) -> Iterator[str]:
    """The address of a real web process."""
    with serving(system) as url:
        yield url


def at_once(act: Callable[[], requests.Response]) -> list[requests.Response]:
    with ThreadPoolExecutor(TIMES) as pool:
        return list(pool.map(lambda _: act(), range(TIMES)))


def signed_in() -> dict[str, str]:
    user = User.objects.get(pk=owner_id())
    _, plain = tokens.create(user, name="tests", now=timezone.now())
    return {"Authorization": f"Bearer {plain}"}


def executions_of(one: Schedule) -> int:
    return Execution.objects.filter(schedule_id=one.id).count()


def test_a_delivery_that_comes_twenty_times_at_once_is_one_execution_and_an_old_one_is_none(
    system: System, web: str, nemesis: Nemesis
) -> None:
    hook = schedule(
        trigger_type="event_driven", trigger_config={"source": "webhook"}, overlap_policy="allow"
    )
    secret = webhook_secrets.rotate(hook.id, actor=SYSTEM)

    def deliver(delivery_id: str, at: datetime) -> requests.Response:
        body = json.dumps({"kind": "order"})
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Webhook(secret).sign(delivery_id, at, body),
        }
        return requests.post(f"{web}/api/webhooks/{hook.id}", body, headers=headers, timeout=30)

    now = datetime.now(UTC)
    answers = at_once(lambda: deliver("evt-1", now))
    nemesis.strikes("delivery doubled", times=TIMES - 1)
    replayed = [deliver(name, now - timedelta(minutes=10)) for name in ("evt-1", "evt-2")]
    nemesis.strikes("old signature", times=len(replayed))

    assert {one.status_code for one in answers} <= {202, 409}
    ids = {one.json()["execution_id"] for one in answers if one.status_code == 202}
    assert len(ids) == 1
    assert {one.status_code for one in replayed} == {401}
    reaches(system, ids.pop(), "completed")
    assert executions_of(hook) == 1


def test_a_request_that_comes_twenty_times_at_once_with_its_key_is_carried_out_once(
    system: System, web: str, nemesis: Nemesis
) -> None:
    idle = schedule(overlap_policy="allow")
    headers = {**signed_in(), "Idempotency-Key": f"only once: {idle.id}"}
    url = f"{web}/api/scheduler/schedules/{idle.id}/trigger"

    answers = at_once(lambda: requests.post(url, json={}, headers=headers, timeout=30))
    nemesis.strikes("request doubled", times=TIMES - 1)
    again = requests.post(url, json={}, headers=headers, timeout=30)

    assert {one.status_code for one in answers} <= {202, 409}
    ids = {one.json()["execution_id"] for one in (*answers, again) if one.status_code == 202}
    assert len(ids) == 1
    reaches(system, ids.pop(), "completed")
    assert executions_of(idle) == 1


def test_what_makes_no_sense_is_refused_at_the_door_and_disables_only_itself_behind_it(
    system: System, web: str, nemesis: Nemesis
) -> None:
    headers = signed_in()
    cron = {"schedule_type": "cron", "schedule_config": {"cron": "0 0 * * *"}}
    fine = {"name": "a job", "task_type": "act", "task_config": {}, **cron}
    answers = {
        name: requests.post(
            f"{web}/api/scheduler/schedules", json={**fine, **wrong}, headers=headers, timeout=30
        ).status_code
        for name, wrong in WRONG.items()
    }
    nemesis.strikes("senseless request", times=len(WRONG))

    beat = system.beat()
    beat.pause()
    corrupt = {name: schedule(**every(3600)) for name in CORRUPT}
    sound = [schedule(**every(3600)) for _ in range(3)]
    for name, columns in CORRUPT.items():
        force(corrupt[name], **columns)
    instants = {one.id: due_now(one) for one in (*sound, *corrupt.values())}
    beat.resume()
    nemesis.strikes("corrupt row", times=len(CORRUPT))

    assert set(answers.values()) <= {400, 413, 422}, answers
    assert not Schedule.objects.filter(name="a job").exists()
    for one in sound:
        system.until(lambda one=one: fires(one), what="the sound ones fire")  # type: ignore[misc]
        assert [fire.nominal_at for fire in fires(one)] == [instants[one.id]]
    for name, one in corrupt.items():
        system.until(lambda one=one: is_disabled(one), what=f"{name} is disabled")  # type: ignore[misc]
        assert ErrorRecord.objects.filter(schedule_id=one.id).count() == 1, name


def is_disabled(one: Schedule) -> bool:
    return not Schedule.objects.get(id=one.id).enabled


@pytest.mark.long  # a journey does it to one queue
def test_garbage_in_every_queue_costs_a_worker_at_most_a_restart(
    system: System, nemesis: Nemesis
) -> None:
    system.worker()
    system.broker.lpush("critical", GARBAGE[0])
    nemesis.strikes("garbage")
    next_one = reaches(system, run(priority="critical"), "completed")
    for queue in QUEUES:
        system.broker.lpush(queue, *GARBAGE, stray(task="nobody.knows"), stray(execution_ids=["x"]))
    nemesis.strikes("garbage", times=len(QUEUES) * (len(GARBAGE) + 2))

    behind = [run(priority=queue) for queue in QUEUES]

    for execution in behind:
        assert reaches(system, execution, "completed", seconds=240).attempt == 1
    assert next_one.started_at is not None
    assert next_one.queued_at is not None
    assert next_one.started_at - next_one.queued_at < BACK


@pytest.mark.long  # `test_redis` does it to one worker
def test_every_message_five_times_at_three_workers_is_every_execution_once(
    system: System, nemesis: Nemesis, gate: Path
) -> None:
    for name in ("worker-2", "worker-3"):
        system.worker(name, threads=THREADS)
    system.wait_ready()
    many = [run({"until": str(gate)}, retry_policy=retries(5)) for _ in range(THREADS)]
    for execution in many:  # there are threads to spare, which get its other messages
        reaches(system, execution, "running")
    many += [run() for _ in range(60)]
    for execution in many:
        copies = envelopes.build([[execution]] * 4, queue="normal")
        system.broker.lpush("normal", *copies)
        nemesis.strikes("message doubled", times=len(copies))
    system.until(lambda: not system.broker.llen("normal"), what="all messages were taken")

    gate.touch()

    for execution in many:
        assert reaches(system, execution, "completed").attempt == 1
    reaches(system, run(), "completed")
    for name in ("worker-2", "worker-3"):
        system.processes[name].stop()
    assert {begun(system, execution) for execution in many} == {1}
