"""Fires past and to come, and backfills, over HTTP and at the terminal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from rest_framework.test import APIClient

from executions_app import clock, ids
from executions_app.audit import Actor
from executions_app.models import Execution
from scheduler_app import backfills, dispatcher
from scheduler_app.models import Backfill, FireRecord, Schedule
from scheduler_app.permissions import OPERATOR
from tests.factories import UserFactory
from tests.rest import signed_in
from tests.terminal import run

MakeSchedule = Callable[..., Schedule]
API = "/api/scheduler"
HOUR = timedelta(hours=1)
HOURLY = {"schedule_type": "cron", "schedule_config": {"cron": "0 * * * *"}}


@pytest.fixture
def operator(owner: User) -> APIClient:
    owner.groups.add(Group.objects.create(name=OPERATOR))
    return signed_in(owner)


@pytest.fixture
def stranger(owner: User) -> APIClient:
    return signed_in(UserFactory.create())


@pytest.fixture
def root(owner: User) -> User:
    return User.objects.create_superuser("root")


def of(schedule: Schedule, rest: str) -> str:
    return f"{API}/schedules/{schedule.id}/{rest}"


def recorded(schedule: Schedule, number: int, **changes: Any) -> list[FireRecord]:
    """So many fires, one a minute up to now, their ids in no order."""
    now = clock.now()
    rows = [
        FireRecord(
            id=ids.new(now - timedelta(hours=n % 3)),
            schedule_id=schedule.id,
            nominal_at=now - timedelta(minutes=n),
            **{"reason": "dispatched", **changes},
        )
        for n in range(number)
    ]
    return FireRecord.objects.bulk_create(rows)


def hour(ago: int) -> datetime:
    return clock.now().replace(minute=0, second=0, microsecond=0) - ago * HOUR


def test_fires_are_listed_latest_first_page_by_page_and_back(
    operator: APIClient, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule()
    rows = recorded(schedule, 5)
    recorded(make_schedule("another"), 1)

    first = operator.get(of(schedule, "fires"), {"page_size": 2}).json()
    second = operator.get(first["next"]).json()
    third = operator.get(second["next"]).json()
    back = operator.get(third["previous"]).json()

    listed = [row["id"] for page in (first, second, third) for row in page["results"]]
    assert listed == [str(one.id) for one in rows]
    assert third["next"] is None
    assert back["results"] == second["results"]


def test_fires_are_chosen_by_reason_and_time(
    operator: APIClient, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule()
    rows = recorded(schedule, 4)
    (skipped,) = recorded(schedule, 1, reason="skipped_overlap", cause="backfill:x")
    until = rows[1].nominal_at.isoformat()

    of_reason = operator.get(of(schedule, "fires"), {"reason": "skipped_overlap"}).json()
    of_time = operator.get(
        of(schedule, "fires"), {"since": rows[3].nominal_at.isoformat(), "until": until}
    ).json()
    wrong = operator.get(of(schedule, "fires"), {"reason": "nonsense"})

    assert [row["id"] for row in of_reason["results"]] == [str(skipped.id)]
    assert [row["id"] for row in of_time["results"]] == [str(rows[2].id), str(rows[3].id)]
    assert wrong.status_code == 400


def test_why_answers_with_a_sentence_and_the_rows(
    operator: APIClient, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5))
    at = schedule.next_run_at
    assert at is not None
    dispatcher.dispatch_due()

    answer = operator.get(of(schedule, "why"), {"at": at.isoformat()}).json()
    beside = operator.get(of(schedule, "why"), {"at": "yesterday"})

    execution = Execution.objects.get()
    assert answer["code"] == answer["fire"]["reason"] == "dispatched"
    assert answer["execution"]["id"] == str(execution.id)
    assert f"#{execution.number}" in answer["sentence"]
    assert beside.status_code == 400


def test_what_belongs_to_others_is_not_there(
    stranger: APIClient, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule(**HOURLY)
    backfill = backfills.create(schedule, first=hour(3), until=hour(1), actor=Actor("ada"))
    paths = ("fires", "why", "backfills", f"backfills/{backfill.id}")

    answers = [stranger.get(of(schedule, path)).status_code for path in paths]
    aborted = stranger.post(of(schedule, f"backfills/{backfill.id}/abort"))

    assert answers == [404] * 4
    assert aborted.status_code == 404
    assert stranger.get(f"{API}/upcoming").json()["fires"] == []
    assert stranger.get(f"{API}/lint").json()["results"] == []


def test_upcoming_is_paged_and_tells_the_crowded_minutes(
    operator: APIClient, make_schedule: MakeSchedule
) -> None:
    for name in ("one", "two"):
        make_schedule(name, **HOURLY)

    first = operator.get(f"{API}/upcoming", {"hours": 3, "limit": 4}).json()
    second = operator.get(first["next"]).json()
    refused = operator.get(f"{API}/upcoming", {"hours": 0})
    lost = operator.get(f"{API}/upcoming", {"cursor": "nonsense"})

    assert [len(first["fires"]), len(second["fires"]), second["next"]] == [4, 2, None]
    assert {one["count"] for one in first["busiest_minutes"]} == {2}
    assert first["is_complete"]
    assert (refused.status_code, lost.status_code) == (400, 400)


def test_lint_lists_only_what_has_findings(
    operator: APIClient, make_schedule: MakeSchedule
) -> None:
    make_schedule("fine")
    bad = make_schedule("bad", catchup_policy="all")

    page = operator.get(f"{API}/lint").json()

    (found,) = page["results"]
    assert found["schedule_id"] == str(bad.id)
    assert [one["code"] for one in found["findings"]] == ["catchup_limit"]


def test_a_backfill_is_tried_begun_looked_at_and_aborted(
    operator: APIClient, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule(**HOURLY)
    body = {"from": hour(5).isoformat(), "until": hour(1).isoformat(), "max_concurrent": 2}

    tried = operator.post(of(schedule, "backfills"), {**body, "dry_run": True}, format="json")
    assert (tried.status_code, tried.json()["runs"], Backfill.objects.count()) == (200, 5, 0)

    begun = operator.post(of(schedule, "backfills"), body, format="json")
    where = begun["Location"]
    backfills.advance()
    paused = operator.post(f"{where}/pause").json()
    resumed = operator.post(f"{where}/resume").json()
    aborted = operator.post(f"{where}/abort").json()
    again = operator.post(f"{where}/abort")

    assert begun.status_code == 202
    assert (begun.json()["total"], begun.json()["made"]) == (5, 0)
    assert [one["status"] for one in (paused, resumed, aborted)] == ["paused", "running", "aborted"]
    assert (paused["made"], paused["active"], aborted["active"]) == (2, 2, 0)
    assert again.status_code == 409
    listed = operator.get(of(schedule, "backfills")).json()["results"]
    assert [one["id"] for one in listed] == [begun.json()["id"]]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"until": None}, "/until"),
        ({"max_concurrent": 0}, "/max_concurrent"),
        ({"from": "2999-01-01T00:00:00Z", "until": "2999-01-02T00:00:00Z"}, "/until"),
        ({"nonsense": 1}, "/nonsense"),
    ],
)
def test_a_wrong_backfill_is_refused_with_its_pointer(
    operator: APIClient, make_schedule: MakeSchedule, changes: dict[str, Any], pointer: str
) -> None:
    schedule = make_schedule(**HOURLY)
    body = {"from": hour(5).isoformat(), "until": hour(1).isoformat(), **changes}

    answer = operator.post(of(schedule, "backfills"), body, format="json")

    assert answer.status_code == 400
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


def test_a_shell_command_is_backfilled_by_operators_only(
    owner: User, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule(**HOURLY)
    body = {"from": hour(5).isoformat(), "until": hour(1).isoformat()}

    answer = signed_in(owner).post(of(schedule, "backfills"), body, format="json")

    assert answer.status_code == 403


def test_the_terminal_lists_fires_and_says_why(root: User, make_schedule: MakeSchedule) -> None:
    schedule = make_schedule(late_by=timedelta(seconds=5))
    dispatcher.dispatch_due()

    listed = run("schedule", "fires", "a job", "--reason", "dispatched", "--json").document
    none = run("schedule", "fires", "a job", "--until", hour(5).isoformat(), "--json").document
    text = run("schedule", "fires", "a job").stdout
    sentence = run("schedule", "why", "a job").stdout
    document = run("schedule", "why", "a job", "--at", "2020-01-01T00:00:00Z", "--json").document

    assert [one["schedule_id"] for one in listed] == [str(schedule.id)]
    assert none == []
    assert "dispatched" in text
    assert "became execution #" in sentence
    assert document["code"] == "not_created"


def test_the_terminal_looks_ahead(root: User, make_schedule: MakeSchedule) -> None:
    make_schedule(**HOURLY)

    document = run("schedule", "upcoming", "--hours", "3", "--json").document
    text = run("schedule", "upcoming", "--hours", "3", "--owner", "owner").stdout
    refused = run("schedule", "upcoming", "--hours", "0")

    assert len(document["fires"]) == 3
    assert text.count("a job") == 3
    assert refused.exit_code == 2


def test_lint_at_the_terminal_fails_if_it_finds_anything(
    root: User, make_schedule: MakeSchedule
) -> None:
    make_schedule("fine")
    assert run("schedule", "lint").exit_code == 0
    make_schedule("bad", catchup_policy="all")

    everything = run("schedule", "lint", "--json")
    fine = run("schedule", "lint", "fine")
    bad = run("schedule", "lint", "bad")

    assert (everything.exit_code, fine.exit_code, bad.exit_code) == (1, 0, 1)
    assert [one["name"] for one in everything.document] == ["bad"]
    assert "catchup_limit" in bad.stdout


def test_simulate_tells_what_comes_and_its_progress_apart(
    root: User, make_schedule: MakeSchedule
) -> None:
    make_schedule(**HOURLY)

    ended = run("simulate", "--days", "2", "--slots", "1", "--unrecorded-ms", "60000", "--json")
    text = run("simulate", "--days", "1").stdout
    wrong = run("simulate", "--days", "0")
    unreadable = run("simulate", "--from", "tomorrow")
    past = run("simulate", "--from", "2020-01-01T00:00:00Z")

    assert ended.document["fires"] == ended.document["executions"] == 48
    assert ended.document["load"] == pytest.approx(48 / 2880, abs=0.001)
    assert "every execution succeeds" in ended.document["assumed"][0]
    assert "%" in ended.stderr
    assert "24" in text
    assert [one.exit_code for one in (wrong, unreadable, past)] == [2, 2, 2]


def test_a_simulation_may_begin_later(root: User, make_schedule: MakeSchedule) -> None:
    make_schedule(**HOURLY)
    begin = hour(-48)

    document = run("simulate", "--from", begin.isoformat(), "--days", "1", "--json").document

    assert document["fires"] == 25  # both ends are whole hours
    assert document["busiest_minutes"][0]["at"] == begin.isoformat().replace("+00:00", "Z")


def test_a_backfill_is_begun_at_the_terminal(root: User, make_schedule: MakeSchedule) -> None:
    make_schedule(**HOURLY)
    span = ("--from", hour(4).isoformat(), "--to", hour(1).isoformat())

    dry = run("backfill", "a job", *span, "--dry-run", "--json").document
    text = run("backfill", "a job", *span, "--dry-run").stdout
    begun = run("backfill", "a job", *span, "--max-concurrent", "3", "--json").document
    wrong = run("backfill", "a job", *span, "--max-concurrent", "0", "--json")
    nowhere = run("backfill", "nobody", *span)

    assert (dry["runs"], dry["dry_run"], Backfill.objects.count()) == (4, True, 1)
    assert "would run" in text
    assert (begun["total"], begun["max_concurrent"]) == (4, 3)
    assert (wrong.exit_code, list(wrong.document["error"]["fields"])) == (2, ["max-concurrent"])
    assert nowhere.exit_code == 4
