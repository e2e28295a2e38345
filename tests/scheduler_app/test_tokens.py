"""What schedules have used of models, over HTTP and at the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from agents_app import metrics
from agents_app.models import Cycle, ModelCall
from executions_app import clock, ids
from executions_app.models import AuditEntry
from scheduler_app.models import Schedule
from tests.factories import UserFactory
from tests.rest import signed_in
from tests.terminal import run

MakeSchedule = Callable[..., Schedule]


@pytest.fixture(autouse=True)
def root(owner: User) -> User:
    return User.objects.create_superuser("root")


def path(schedule: Schedule) -> str:
    return f"/api/scheduler/schedules/{schedule.id}/tokens"


def used(schedule: Schedule, tokens: int, *, days_ago: float = 0, **more: Any) -> ModelCall:
    at = clock.now() - timedelta(days=days_ago)
    given: dict[str, Any] = {"provider": "p", "model": "small", "phase": "plan", "status": "ok"}
    return ModelCall.objects.create(
        **{**given, **more},
        id=ids.new(at),
        schedule_id=schedule.id,
        owner_id=schedule.owner_id,
        prompt_tokens=tokens,
        cost_usd=Decimal("0.5"),
        created_at=at,
    )


def test_a_schedule_shows_what_it_has_used(owner: User, make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    used(schedule, 100)
    used(schedule, 10, phase="schedule", status="failed", is_estimated=True)
    used(schedule, 5_000, days_ago=40)
    used(make_schedule("another"), 7)

    shown = signed_in(owner).get(path(schedule)).json()
    longer = signed_in(owner).get(path(schedule), {"days": 60}).json()

    assert shown["totals"] == {
        "calls": 2,
        "failed": 1,
        "malformed": 0,
        "estimated": 1,
        "prompt_tokens": 110,
        "completion_tokens": 0,
        "total_tokens": 110,
        "cost_usd": "1.000000",
    }
    assert [(one["key"], one["total_tokens"]) for one in shown["phases"]] == [
        ("plan", 100),
        ("schedule", 10),
    ]
    assert [one["key"] for one in shown["models"]] == ["small"]
    assert len(shown["days"]) == 1
    assert longer["totals"]["total_tokens"] == 5_110


def test_the_route_and_the_gauges_tell_the_same(owner: User, make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    used(schedule, 100, completion_tokens=11)
    used(schedule, 10, phase="schedule", status="failed")
    used(schedule, 7, phase="schedule", status="malformed", completion_tokens=3)

    phases = signed_in(owner).get(path(schedule)).json()["phases"]

    gauges = {family.name: family for family in metrics.families(clock.now())}
    for name in ("prompt_tokens", "completion_tokens", "cost_usd"):
        samples = gauges[f"cadenza_model_{name}_last_hour"].samples
        told = {one.labels["phase"]: Decimal(str(one.value)) for one in samples}
        assert told == {one["key"]: Decimal(str(one[name])) for one in phases}, name


@pytest.mark.parametrize("days", ["0", "401", "many"])
def test_a_time_that_cannot_be_is_refused(
    owner: User, make_schedule: MakeSchedule, days: str
) -> None:
    assert signed_in(owner).get(path(make_schedule()), {"days": days}).status_code == 400


def test_what_others_have_used_is_not_shown(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    stranger: APIClient = signed_in(UserFactory.create())

    assert stranger.get(path(schedule)).status_code == 404
    assert stranger.post(path(schedule)).status_code == 404
    assert APIClient().get(path(schedule)).status_code == 401


def test_a_recount_corrects_the_cycles_and_is_written_down(
    owner: User, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule()
    now = clock.now()
    cycle = Cycle.objects.create(
        id=ids.new(now),
        execution_id=uuid4(),
        schedule_id=schedule.id,
        owner_id=owner.pk,
        token=uuid4(),
        stage="done",
        status="completed",
        deadline=now,
    )
    used(schedule, 40, cycle_id=cycle.id, execution_id=cycle.execution_id)

    answer = signed_in(owner).post(path(schedule))

    cycle.refresh_from_db()
    assert (answer.status_code, answer.json()["corrected"]) == (200, 1)
    assert answer.json()["cycles"][0]["key"] == str(cycle.id)
    assert (cycle.prompt_tokens, cycle.cost_usd) == (40, Decimal("0.5"))
    assert AuditEntry.objects.filter(action="schedule.tokens_recounted").count() == 1


def test_the_command_reports_by_schedule(make_schedule: MakeSchedule) -> None:
    dear, cheap = make_schedule("dear"), make_schedule("cheap")
    used(dear, 900)
    used(dear, 100)
    used(cheap, 5)

    text = run("tokens", "report", "--by", "schedule")
    document = json.loads(run("tokens", "report", "--by", "schedule", "--json").stdout)

    assert text.stdout.index("dear") < text.stdout.index("cheap")
    assert "1005 tokens in 3 calls" in text.stdout
    assert [(one["key"], one["total_tokens"]) for one in document["groups"]] == [
        (str(dear.id), 1_000),
        (str(cheap.id), 5),
    ]
    assert document["totals"]["cost_usd"] == "1.500000"


def test_the_command_reports_on_one_schedule_since_an_instant(make_schedule: MakeSchedule) -> None:
    schedule = make_schedule("nightly")
    used(schedule, 3, days_ago=3)
    used(schedule, 4)
    used(make_schedule("another"), 50)
    since = (clock.now() - timedelta(days=1)).isoformat()

    ended = run("tokens", "report", "--schedule", "nightly", "--since", since, "--json")

    assert json.loads(ended.stdout)["totals"]["total_tokens"] == 4


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--schedule", "nobody"), 4),
        (("--execution", "999999"), 4),
        (("--since", "yesterday"), 2),
        (("--user", "nobody"), 4),
    ],
)
def test_what_cannot_be_reported_ends_with_its_code(arguments: tuple[str, ...], code: int) -> None:
    assert run("tokens", "report", *arguments, "--json").exit_code == code
