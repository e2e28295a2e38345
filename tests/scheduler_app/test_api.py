"""Schedules over HTTP: the words in, the row out, and who may do what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from agents_app.models import Cycle, CycleStage, CycleStatus, Tier
from executions_app import clock, ids
from executions_app.models import AuditEntry, Execution, IdempotencyKey
from executions_app.states import ExecutionStatus
from scheduler_app import status as standing
from scheduler_app import system
from scheduler_app.models import Schedule
from scheduler_app.permissions import OPERATOR
from tests.agents_app.agents import make_cycle
from tests.factories import ExecutionFactory, ScheduleFactory, UserFactory
from tests.rest import ids_of, signed_in

SCHEDULES = "/api/scheduler/schedules"
SCHEDULE_KEYS = {
    "id", "name", "owner", "trigger_type", "schedule_type", "schedule_config", "timezone",
    "task_type", "task_config", "priority", "enabled", "paused_until", "pause_reason",
    "timeout_ms", "overlap_policy", "catchup_policy", "catchup_limit", "catchup_window_ms",
    "retry_policy", "trigger_config", "start_at", "end_at", "max_runs", "execution_window",
    "calendar", "outside_window", "jitter_ms", "spread_ms", "buffer_limit", "run_ttl_ms",
    "pause_after_failures", "max_concurrent", "limit_key", "unique_key", "unique_mode",
    "unique_for_ms", "next_run_at", "last_run_at", "paused_at", "fired_count", "missed_count",
    "version", "created_at", "updated_at", "next_run_source",
}  # fmt: skip


@pytest.fixture
def operator(owner: User) -> APIClient:
    """The caller; `owner` prepares the system and is an operator here."""
    owner.groups.add(Group.objects.create(name=OPERATOR))
    return signed_in(owner)


@pytest.fixture
def stranger(owner: User) -> APIClient:
    return signed_in(UserFactory.create())


def one(schedule: Schedule, *more: str) -> str:
    return "/".join([SCHEDULES, str(schedule.id), *more])


def words(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a job",
        "schedule_type": "interval",
        "schedule_config": {"interval_ms": 60_000},
        "task_type": "http_request",
        "task_config": {"url": "http://127.0.0.1:1/"},
        **changes,
    }


def pointers(problem: dict[str, Any]) -> list[str]:
    return [error["pointer"] for error in problem["errors"]]


def test_the_words_of_the_handbook_in_camel_case_make_a_schedule(operator: APIClient) -> None:
    body = (
        '{"name":"test-schedule","taskType":"shell_command",'
        '"taskConfig":{"command":"echo hello"},"scheduleType":"interval",'
        '"scheduleConfig":{"intervalMs":60000}}'
    )

    answer = operator.post(SCHEDULES, data=body, content_type="application/json")

    row = answer.json()
    assert answer.status_code == 201
    assert set(row) == SCHEDULE_KEYS
    assert row["schedule_config"] == {"interval_ms": 60_000}
    assert row["next_run_at"].endswith("Z")
    assert answer["Location"] == f"{SCHEDULES}/{row['id']}"
    assert answer["ETag"] == '"1"'
    assert operator.get(answer["Location"]).json() == row


def test_names_inside_headers_and_json_are_the_callers_own(operator: APIClient) -> None:
    task_config = {
        "url": "http://127.0.0.1:1/",
        "method": "POST",
        "headers": {"X-traceId": "1"},
        "json": {"userName": "ada"},
    }

    row = operator.post(SCHEDULES, words(task_config=task_config)).json()

    assert row["task_config"]["headers"] == {"X-traceId": "1"}
    assert row["task_config"]["json"] == {"userName": "ada"}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"schedule_type": "cron", "schedule_config": {"cron": "99 * * * *"}},
         "/schedule_config/cron"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"name": ""}, "/name"),
        ({"priority": "urgent"}, "/priority"),
        ({"task_type": "unheard_of"}, "/task_type"),
        ({"task_config": {"url": 7}}, "/task_config/url"),
        ({"retry_policy": {"max_retries": -1}}, "/retry_policy/max_retries"),
        ({"nonsense": 1}, "/nonsense"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_pointer_and_nothing_is_stored(
    operator: APIClient, changes: dict[str, Any], wrong: str
) -> None:
    answer = operator.post(SCHEDULES, words(**changes))

    assert answer.status_code == 400
    assert pointers(answer.json()) == [wrong]
    assert not Schedule.objects.exists()


def test_every_missing_word_is_named_at_once(operator: APIClient) -> None:
    answer = operator.post(SCHEDULES, {})

    assert pointers(answer.json()) == ["/name", "/task_type"]


def test_a_name_is_taken_only_among_ones_own(operator: APIClient, stranger: APIClient) -> None:
    operator.post(SCHEDULES, words())

    again = operator.post(SCHEDULES, words())
    elsewhere = stranger.post(SCHEDULES, words())

    assert (again.status_code, pointers(again.json())) == (400, ["/name"])
    assert elsewhere.status_code == 201


def test_shell_commands_are_for_operators(operator: APIClient, stranger: APIClient) -> None:
    shell = words(task_type="shell_command", task_config={"command": ["true"]})

    refused = stranger.post(SCHEDULES, shell)
    admitted = operator.post(SCHEDULES, shell)

    assert (refused.status_code, refused.json()["code"]) == (403, "operator_needed")
    assert admitted.status_code == 201


def test_a_schedule_does_not_become_a_shell_command_by_a_change(stranger: APIClient) -> None:
    row = stranger.post(SCHEDULES, words()).json()
    change = {"task_type": "shell_command", "task_config": {"command": ["true"]}}

    answer = stranger.patch(f"{SCHEDULES}/{row['id']}", change)

    assert answer.status_code == 403
    assert Schedule.objects.get().task_type == "http_request"


@pytest.mark.parametrize("query", ["enabled=true", "taskType=http_request&enabled=true"])
def test_a_list_holds_what_its_filters_name(operator: APIClient, owner: User, query: str) -> None:
    enabled = ScheduleFactory.create(owner=owner)
    ScheduleFactory.create(owner=owner, enabled=False)

    page = operator.get(f"{SCHEDULES}?{query}").json()

    assert ids_of(page) == [str(enabled.id)]


def test_a_list_may_name_several_priorities_and_a_part_of_the_name(
    operator: APIClient, owner: User
) -> None:
    high = ScheduleFactory.create(owner=owner, name="alpha high", priority="high")
    ScheduleFactory.create(owner=owner, name="alpha normal")
    low = ScheduleFactory.create(owner=owner, name="alpha low", priority="low")
    ScheduleFactory.create(owner=owner, name="beta low", priority="low")

    page = operator.get(f"{SCHEDULES}?priority=high,low&search=ALPHA").json()

    assert set(ids_of(page)) == {str(low.id), str(high.id)}


@pytest.mark.parametrize("query", ["priority=urgent", "ordering=task_config", "page_size=x"])
def test_a_query_that_means_nothing_is_refused(operator: APIClient, query: str) -> None:
    answer = operator.get(f"{SCHEDULES}?{query}")

    assert answer.status_code == 400
    assert pointers(answer.json()) == [f"/{query.partition('=')[0]}"]


@pytest.mark.parametrize("ordering", ["next_run_at", "-next_run_at", "name", "-created_at"])
def test_pages_of_any_order_hold_every_row_once_in_both_directions(
    operator: APIClient, owner: User, ordering: str
) -> None:
    made = [ScheduleFactory.create(owner=owner, enabled=number % 2 == 0) for number in range(7)]
    same = {"next_run_at": made[0].next_run_at}
    Schedule.objects.filter(id__in=[made[2].id, made[4].id]).update(**same)

    forth = [operator.get(f"{SCHEDULES}?page_size=3&ordering={ordering}").json()]
    while forth[-1]["next"]:
        forth.append(operator.get(forth[-1]["next"]).json())
    back = [forth[-1]]
    while back[-1]["previous"]:
        back.append(operator.get(back[-1]["previous"]).json())

    seen = [row for page in forth for row in ids_of(page)]
    assert [len(page["results"]) for page in forth] == [3, 3, 1]
    assert sorted(seen) == sorted(str(schedule.id) for schedule in made)
    assert [row for page in reversed(back) for row in ids_of(page)] == seen


def test_a_longer_page_costs_no_more_statements(
    operator: APIClient, owner: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    operator.get(SCHEDULES)  # the token's use is noted once a minute
    for _ in range(12):
        ScheduleFactory.create(owner=owner)

    with django_assert_num_queries(2):  # token, rows
        operator.get(f"{SCHEDULES}?page_size=2")
    with django_assert_num_queries(2):
        page = operator.get(f"{SCHEDULES}?page_size=12").json()

    assert len(page["results"]) == 12


@pytest.mark.parametrize(
    ("method", "more"),
    [("get", ""), ("put", ""), ("patch", ""), ("delete", ""), ("post", "/trigger")],
)
def test_what_belongs_to_others_is_not_there(
    stranger: APIClient, owner: User, method: str, more: str
) -> None:
    schedule = ScheduleFactory.create(owner=owner)

    answer = getattr(stranger, method)(one(schedule) + more, {})

    assert answer.status_code == 404
    assert Schedule.objects.filter(id=schedule.id).exists()
    assert ids_of(stranger.get(SCHEDULES).json()) == []


def test_a_superuser_sees_everybodys(owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner)
    superuser = signed_in(UserFactory.create(is_superuser=True))

    assert ids_of(superuser.get(SCHEDULES).json()) == [str(schedule.id)]
    assert superuser.get(one(schedule)).json()["owner"] == owner.pk


def test_putting_back_what_was_read_changes_nothing(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner)
    read = operator.get(one(schedule)).json()

    answer = operator.put(one(schedule), read)

    assert (answer.status_code, answer.json()) == (200, read)


def test_put_gives_defaults_to_what_is_left_out(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner, name="a job", priority="high")

    row = operator.put(one(schedule), words()).json()

    assert row["priority"] == "normal"


def test_patch_changes_what_is_given_and_keeps_the_rest(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner, priority="high")

    answer = operator.patch(one(schedule), {"scheduleConfig": {"intervalMs": 120_000}})

    row = answer.json()
    assert row["schedule_config"] == {"interval_ms": 120_000}
    assert (row["priority"], row["version"], answer["ETag"]) == ("high", 2, '"2"')


def test_a_paused_schedule_can_still_be_changed(operator: APIClient, owner: User) -> None:
    until = (clock.now() + timedelta(days=1)).isoformat()
    schedule = ScheduleFactory.create(owner=owner, paused_until=until, pause_reason="moving house")

    row = operator.patch(one(schedule), {"name": "renamed"}).json()

    assert (row["name"], row["pause_reason"]) == ("renamed", "moving house")
    assert row["paused_until"] is not None


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_nobody_overwrites_what_they_have_not_seen(
    operator: APIClient, owner: User, method: str
) -> None:
    schedule = ScheduleFactory.create(owner=owner)
    operator.patch(one(schedule), {"priority": "low"})

    answer = getattr(operator, method)(one(schedule), words(), HTTP_IF_MATCH='"1"')

    assert (answer.status_code, answer.json()["code"]) == (412, "version_changed")
    assert Schedule.objects.get().priority == "low"


@pytest.mark.parametrize("tag", ['"1"', 'W/"1"', '"7", "1"', "*"])
def test_a_change_of_the_version_seen_is_admitted(
    operator: APIClient, owner: User, tag: str
) -> None:
    schedule = ScheduleFactory.create(owner=owner)

    answer = operator.patch(one(schedule), {"priority": "low"}, HTTP_IF_MATCH=tag)

    assert answer.status_code == 200


def test_a_deleted_schedule_leaves_its_executions(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner, name="short-lived")
    triggered = operator.post(one(schedule, "trigger")).json()

    answer = operator.delete(one(schedule))

    assert (answer.status_code, answer.content) == (204, b"")
    assert operator.get(one(schedule)).status_code == 404
    kept = operator.get(f"/api/execution/executions/{triggered['id']}").json()
    assert kept["schedule"] == {"id": str(schedule.id), "name": "short-lived"}


def test_a_trigger_answers_the_execution_and_leaves_the_cadence(
    operator: APIClient, owner: User
) -> None:
    schedule = ScheduleFactory.create(owner=owner)

    answer = operator.post(
        one(schedule, "trigger"), {"parameters": {"userName": "ada"}}, HTTP_X_REQUEST_ID="req-7"
    )

    said = answer.json()
    execution = Execution.objects.get()
    assert answer.status_code == 202
    assert said == {
        "execution_id": str(execution.id),
        "id": str(execution.id),
        "number": execution.number,
        "status": "queued",
        "held_by": None,
        "duplicate": False,
    }
    assert answer["Location"] == f"/api/execution/executions/{execution.id}"
    assert execution.parameters == {"userName": "ada"}
    assert execution.correlation_id == "req-7"
    assert (execution.trigger, execution.nominal_at) == ("manual", None)
    assert Schedule.objects.get().next_run_at == schedule.next_run_at


def test_a_disabled_schedule_can_be_triggered(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner, enabled=False)

    assert operator.post(one(schedule, "trigger")).status_code == 202


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"parameters": [1]}, "/parameters"),
        ({"parameters": {"text": "x" * 70_000}}, "/parameters"),
        ({"parameter": {}}, "/parameter"),
    ],
)
def test_parameters_are_an_object_of_at_most_64_kib(
    operator: APIClient, owner: User, body: dict[str, Any], wrong: str
) -> None:
    answer = operator.post(one(ScheduleFactory.create(owner=owner), "trigger"), body)

    assert (answer.status_code, pointers(answer.json())) == (400, [wrong])
    assert not Execution.objects.exists()


def test_a_repeated_request_is_carried_out_once(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner)
    body = {"parameters": {"n": 1}}

    first = operator.post(one(schedule, "trigger"), body, HTTP_IDEMPOTENCY_KEY="k")
    again = operator.post(one(schedule, "trigger"), body, HTTP_IDEMPOTENCY_KEY="k")

    assert "Idempotent-Replay" not in first
    assert again["Idempotent-Replay"] == "true"
    assert (again.status_code, again.json()) == (202, first.json())
    assert again["Location"] == first["Location"]
    assert Execution.objects.count() == 1


def test_a_key_is_for_one_request_only(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner)
    operator.post(one(schedule, "trigger"), {}, HTTP_IDEMPOTENCY_KEY="k")

    answer = operator.post(
        one(schedule, "trigger"), {"parameters": {"n": 2}}, HTTP_IDEMPOTENCY_KEY="k"
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")


def test_a_key_whose_request_runs_is_busy(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner)
    operator.post(one(schedule, "trigger"), {}, HTTP_IDEMPOTENCY_KEY="k")
    IdempotencyKey.objects.update(response_status=None)

    answer = operator.post(one(schedule, "trigger"), {}, HTTP_IDEMPOTENCY_KEY="k")

    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_progress")
    assert Execution.objects.count() == 1


def test_a_key_is_forgotten_after_a_day(operator: APIClient, owner: User) -> None:
    schedule = ScheduleFactory.create(owner=owner, overlap_policy="allow")
    operator.post(one(schedule, "trigger"), {}, HTTP_IDEMPOTENCY_KEY="k")
    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=25))

    answer = operator.post(one(schedule, "trigger"), {}, HTTP_IDEMPOTENCY_KEY="k")

    assert (answer.status_code, "Idempotent-Replay" in answer) == (202, False)
    assert Execution.objects.count() == 2


def test_a_refused_request_leaves_its_key_free(operator: APIClient) -> None:
    operator.post(SCHEDULES, words(priority="urgent"), HTTP_IDEMPOTENCY_KEY="k")

    corrected = operator.post(SCHEDULES, words(), HTTP_IDEMPOTENCY_KEY="k")

    assert corrected.status_code == 201


def test_keys_of_two_people_do_not_meet(operator: APIClient, stranger: APIClient) -> None:
    operator.post(SCHEDULES, words(), HTTP_IDEMPOTENCY_KEY="k")

    answer = stranger.post(SCHEDULES, words(), HTTP_IDEMPOTENCY_KEY="k")

    assert (answer.status_code, "Idempotent-Replay" in answer) == (201, False)


def test_stop_and_start_say_how_it_stands_and_are_audited(operator: APIClient) -> None:
    stopped = operator.post("/api/scheduler/stop")
    started = operator.post("/api/scheduler/start")

    assert (stopped.status_code, stopped.json()["state"]) == (200, "paused")
    assert stopped.json()["scheduler_running"] is False
    assert started.json()["scheduler_running"] is True
    actions = AuditEntry.objects.filter(object_type="system").values_list("action", flat=True)
    assert sorted(actions) == ["system.started", "system.stopped"]


@pytest.mark.parametrize("act", ["start", "stop"])
def test_only_operators_start_and_stop(stranger: APIClient, act: str) -> None:
    answer = stranger.post(f"/api/scheduler/{act}")

    assert (answer.status_code, answer.json()["code"]) == (403, "operator_needed")
    assert system.read().scheduler_running


def test_the_status_counts_what_is_there(operator: APIClient, owner: User) -> None:
    ScheduleFactory.create(owner=owner)
    due = ScheduleFactory.create(owner=owner)
    Schedule.objects.filter(id=due.id).update(next_run_at=Now() - timedelta(seconds=5))
    ExecutionFactory.create(owner=owner)
    ExecutionFactory.create(owner=owner, priority="high")
    agent = {"name": "an agent", "task_type": "agent"}
    ExecutionFactory.create(owner=owner, status=ExecutionStatus.RUNNING, snapshot=agent)
    ExecutionFactory.create(owner=owner, status=ExecutionStatus.RUNNING)

    status = operator.get("/api/scheduler/status").json()

    assert (status["due"], status["running"]) == (1, 2)
    assert status["queued"] == {"critical": 0, "high": 1, "normal": 1, "low": 0}
    assert status["slots"] == {"used": 1, "max": 5}
    assert (status["problem"], status["last_tick_at"]) == ("", None)


def ended_cycle(**timings: int) -> Cycle:
    return make_cycle(
        status=CycleStatus.COMPLETED, stage=CycleStage.DONE, tier=Tier.MODEL, timings=timings
    )


def test_the_status_tells_how_long_the_cycles_of_the_last_hour_took(operator: APIClient) -> None:
    ended_cycle(plan=1_000, schedule=500)
    ended_cycle(plan=4_001)
    ended_cycle(plan=2_000, schedule=100)
    long_ago = ended_cycle(plan=60_000)
    Cycle.objects.filter(id=long_ago.id).update(id=ids.new(clock.now() - timedelta(hours=2)))
    make_cycle(stage=CycleStage.EXECUTE, timings={"plan": 60_000})

    cycles = operator.get("/api/scheduler/status").json()["cycles"]

    assert cycles == {
        "plan": {"count": 3, "last_ms": 2_000, "mean_ms": 2_334, "total_ms": 7_001},
        "schedule": {"count": 2, "last_ms": 100, "mean_ms": 300, "total_ms": 600},
        "cycle": {"count": 3, "last_ms": 2_100, "mean_ms": 2_534, "total_ms": 7_601},
    }


def test_without_a_cycle_in_the_last_hour_the_status_has_no_times(operator: APIClient) -> None:
    make_cycle(stage=CycleStage.EXECUTE, timings={"plan": 60_000})

    assert operator.get("/api/scheduler/status").json()["cycles"] == {}


@pytest.mark.django_db
def test_the_status_costs_the_same_however_many_cycles_there_were(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for _ in range(20):
        ended_cycle(plan=10, execute=20)
    now = clock.now()

    with django_assert_num_queries(7):
        found = standing.read(now=now)

    assert found.cycles["cycle"].count == 20


def test_a_preview_tells_the_sentence_and_the_next_fires(operator: APIClient) -> None:
    answer = operator.post(
        "/api/scheduler/preview", {"cron": "0 9 * * *", "timezone": "Europe/Berlin", "count": 2}
    )

    said = answer.json()
    assert answer.status_code == 200
    assert "09:00" in said["sentence"]
    assert [fire["local"][-8:] for fire in said["fires"]] == ["09:00:00", "09:00:00"]


@pytest.mark.parametrize(
    "rule",
    [
        {"scheduleType": "interval", "scheduleConfig": {"every": "30 minutes"}},
        {"schedule_type": "cron", "schedule_config": {"cron": "*/5 * * * *"}},
    ],
)
def test_a_preview_takes_the_rule_of_any_schedule(operator: APIClient, rule: Any) -> None:
    said = operator.post("/api/scheduler/preview", rule).json()

    assert len(said["fires"]) == 5


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"cron": "every day"}, "/cron"),
        ({"cron": "* * * * *", "timezone": "Mars"}, "/timezone"),
        ({"schedule_type": "interval", "schedule_config": {"interval_ms": 1}},
         "/schedule_config/interval_ms"),
        ({"schedule_type": "interval", "schedule_config": 7}, "/schedule_config"),
        ({"schedule_type": "cron"}, "/schedule_config"),
    ],
)  # fmt: skip
def test_a_preview_names_what_is_wrong(operator: APIClient, body: Any, wrong: str) -> None:
    answer = operator.post("/api/scheduler/preview", body)

    assert answer.status_code == 400
    assert pointers(answer.json()) == [wrong]


def test_a_date_that_never_comes_is_previewed_with_a_warning(operator: APIClient) -> None:
    said = operator.post("/api/scheduler/preview", {"cron": "0 0 30 2 *"}).json()

    assert said["fires"] == []
    assert any("Never" in warning for warning in said["warnings"])


def test_leases_are_listed_and_released_by_an_operator(operator: APIClient, owner: User) -> None:
    running = ExecutionFactory.create(owner=owner, status=ExecutionStatus.RUNNING)
    ExecutionFactory.create(owner=owner)

    (lease,) = operator.get("/api/scheduler/locks").json()["results"]
    assert operator.get(f"/api/scheduler/locks/{running.id}").json() == lease
    released = operator.delete(f"/api/scheduler/locks/{running.number}?note=stuck")

    assert (lease["execution_id"], lease["is_expired"]) == (str(running.id), False)
    assert released.status_code == 204
    assert operator.get("/api/scheduler/locks").json()["results"] == []
    assert AuditEntry.objects.get(action="lease.released").note == "stuck"
    assert Execution.objects.get(id=running.id).status == ExecutionStatus.PENDING


def test_nobody_else_releases_a_lease(owner: User) -> None:
    user = UserFactory.create()
    running = ExecutionFactory.create(owner=user, status=ExecutionStatus.RUNNING)

    answer = signed_in(user).delete(f"/api/scheduler/locks/{running.id}")

    assert answer.status_code == 403
    assert Execution.objects.get(id=running.id).status == ExecutionStatus.RUNNING


def test_a_lease_that_nobody_holds_is_not_there(operator: APIClient, owner: User) -> None:
    queued = ExecutionFactory.create(owner=owner)

    for key in (queued.id, uuid4(), "nonsense", "7" * 40):
        assert operator.delete(f"/api/scheduler/locks/{key}").status_code == 404
        assert operator.get(f"/api/scheduler/locks/{key}").status_code == 404
