"""Calendars, limits and many schedules at once, over HTTP, on the terminal and in the admin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from executions_app.models import AuditEntry
from scheduler_app.models import BusinessCalendar, Limit, Schedule
from tests.rest import signed_in
from tests.terminal import run

MakeSchedule = Callable[..., Schedule]
pytestmark = pytest.mark.django_db

SCHEDULES = "/api/scheduler/schedules"
CALENDARS = "/api/scheduler/calendars"
LIMITS = "/api/scheduler/limits"
OFFICE = {
    "name": "office",
    "timezone": "Europe/Berlin",
    "weekend": ["sun", "sat"],
    "holidays": [{"date": "2026-12-25", "name": "Christmas Day"}],
    "blackouts": [{"from": "2026-12-24T18:00:00+01:00", "to": "2026-12-27T06:00:00Z"}],
}


@pytest.fixture
def caller(owner: User) -> APIClient:
    return signed_in(owner)


@pytest.fixture
def root(owner: User) -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def admin(root: User) -> APIClient:
    return signed_in(root)


@pytest.fixture
def browser(root: User, client: Client) -> Client:
    client.force_login(root)
    return client


def pointers(answer: Any) -> set[str]:
    return {one["pointer"] for one in answer.json()["errors"]}


def test_a_calendar_is_created_read_changed_and_deleted(caller: APIClient) -> None:
    created = caller.post(CALENDARS, OFFICE, format="json")
    where = created["Location"]
    changed = caller.patch(where, {"weekend": []}, format="json")
    listed = caller.get(CALENDARS).json()["results"]
    deleted = caller.delete(where)

    assert (created.status_code, created["ETag"]) == (201, '"1"')
    assert created.json()["weekend"] == ["sat", "sun"]
    assert created.json()["blackouts"][0]["from"] == "2026-12-24T18:00:00+01:00"
    assert (changed.json()["weekend"], changed["ETag"]) == ([], '"2"')
    assert listed == [changed.json()]
    assert deleted.status_code == 204
    entries = AuditEntry.objects.filter(object_type="calendar")
    assert {one.action for one in entries} == {
        "calendar.created", "calendar.updated", "calendar.deleted",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"timezone": "Mars/Olympus"}, "/timezone"),
        ({"weekend": ["holiday"]}, "/weekend/0"),
        ({"holidays": [{"date": "2026-02-30"}]}, "/holidays/0/date"),
        ({"holidays": [{"day": "2026-02-20"}]}, "/holidays/0/date"),
        ({"blackouts": [{"from": "2026-12-24T18:00:00", "to": "2026-12-25T00:00:00Z"}]},
         "/blackouts/0/from"),
        ({"blackouts": [{"from": "2026-12-25T00:00:00Z", "to": "2026-12-25T00:00:00Z"}]},
         "/blackouts/0"),
        ({"colour": "red"}, "/colour"),
    ],
    ids=str,
)  # fmt: skip
def test_a_calendar_that_makes_no_sense_is_refused(
    caller: APIClient, words: dict[str, Any], pointer: str
) -> None:
    answer = caller.post(CALENDARS, {**OFFICE, **words}, format="json")

    assert answer.status_code == 400
    assert pointer in pointers(answer)
    assert not BusinessCalendar.objects.exists()


def test_a_calendar_is_nobody_elses_and_its_name_is_taken_once(caller: APIClient) -> None:
    where = caller.post(CALENDARS, OFFICE, format="json")["Location"]
    stranger = signed_in(User.objects.create_user("stranger"))

    assert caller.post(CALENDARS, OFFICE, format="json").status_code == 400
    assert stranger.get(where).status_code == 404
    assert stranger.delete(where).status_code == 404
    assert stranger.post(CALENDARS, OFFICE, format="json").status_code == 201


def test_a_calendar_that_was_edited_meanwhile_is_not_overwritten(caller: APIClient) -> None:
    where = caller.post(CALENDARS, OFFICE, format="json")["Location"]
    caller.patch(where, {"name": "works"}, format="json")

    answer = caller.patch(where, {"name": "home"}, format="json", HTTP_IF_MATCH='"1"')

    assert answer.status_code == 412
    assert "Calendar 'works' is at version 2" in answer.json()["detail"]


def test_a_calendar_that_is_followed_cannot_be_deleted(
    caller: APIClient, make_schedule: MakeSchedule
) -> None:
    where = caller.post(CALENDARS, OFFICE, format="json")["Location"]
    make_schedule("nightly", calendar="office")

    answer = caller.delete(where)

    assert answer.status_code == 409
    assert "'nightly'" in answer.json()["detail"]


def test_a_schedule_with_a_calendar_and_a_window_goes_in_and_out(caller: APIClient) -> None:
    calendar = caller.post(CALENDARS, OFFICE, format="json").json()
    words = {
        "name": "nightly",
        "scheduleType": "cron",
        "scheduleConfig": {"cron": "0 9 * * *"},
        "taskType": "http_request",
        "taskConfig": {"url": "https://example.com"},
        "calendar": "office",
        "executionWindow": {"hours": ["08:00-10:00"]},
        "outsideWindow": "next_opening",
        "maxRuns": 5,
        "uniqueKey": "night:{night}",
    }

    created = caller.post(SCHEDULES, words, format="json")
    changed = caller.patch(created["Location"], {"maxRuns": 6}, format="json")
    replaced = caller.put(created["Location"], {**changed.json(), "calendar": None}, format="json")

    row = created.json()
    assert created.status_code == 201
    assert (row["calendar"], row["max_runs"]) == (calendar["id"], 5)
    assert row["execution_window"] == {"hours": ["08:00-10:00"]}
    assert (changed.json()["calendar"], changed.json()["max_runs"]) == (calendar["id"], 6)
    assert (replaced.json()["calendar"], replaced.json()["version"]) == (None, 3)
    assert caller.get(SCHEDULES, {"calendar": calendar["id"]}).json()["results"] == []


def test_a_schedule_that_others_wait_for_is_not_deleted(
    caller: APIClient, make_schedule: MakeSchedule
) -> None:
    first = make_schedule("first")
    words = {
        "name": "second",
        "trigger_type": "dependent",
        "trigger_config": {"upstreams": ["first"]},
        "task_type": "http_request",
        "task_config": {"url": "https://example.com"},
    }

    assert caller.post(SCHEDULES, words, format="json").status_code == 201
    assert caller.delete(f"{SCHEDULES}/{first.id}").status_code == 409


def test_a_limit_is_set_read_changed_and_lifted(admin: APIClient, caller: APIClient) -> None:
    created = admin.post(LIMITS, {"key": "key:tenant:*", "maxConcurrent": 5}, format="json")
    again = admin.post(LIMITS, {"key": "key:tenant:*", "maxConcurrent": 6}, format="json")
    rate = {"rate_count": 10, "rate_period_ms": 1000}
    changed = admin.patch(created["Location"], rate, format="json")
    seen = caller.get(LIMITS).json()["results"]
    lifted = admin.delete(created["Location"])

    assert (created.status_code, again.status_code, lifted.status_code) == (201, 200, 204)
    assert again.json()["id"] == created.json()["id"]
    assert seen == [changed.json()]
    shown = changed.json()
    assert (shown["max_concurrent"], shown["rate_count"], shown["version"]) == (6, 10, 3)
    entries = AuditEntry.objects.filter(object_type="limit")
    assert sorted(one.action for one in entries) == [
        "limit.created", "limit.deleted", "limit.updated", "limit.updated",
    ]  # fmt: skip
    assert entries.filter(action="limit.updated", before={"max_concurrent": 5}).exists()


def test_only_administrators_change_limits(caller: APIClient, admin: APIClient) -> None:
    where = admin.post(LIMITS, {"key": "system", "max_concurrent": 5}, format="json")["Location"]

    for answer in (
        caller.post(LIMITS, {"key": "system", "max_concurrent": 50}, format="json"),
        caller.patch(where, {"max_concurrent": 50}, format="json"),
        caller.delete(where),
    ):
        assert answer.status_code == 403
    assert Limit.objects.get().max_concurrent == 5


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({"key": "schedule:0195f2c0-11aa-7000-8000-1c2d3e4f5a6b"}, "/key"),
        ({"key": "queue:slow"}, "/key"),
        ({"key": "key:"}, "/key"),
        ({"key": "key:a*b"}, "/key"),
        ({"max_concurrent": -1}, "/max_concurrent"),
        ({"max_concurrent": None}, "/max_concurrent"),
        ({"rate_count": 5}, "/max_concurrent"),
        ({"rate_count": 0, "rate_period_ms": 1000}, "/rate_count"),
        ({"per": "second"}, "/per"),
    ],
    ids=str,
)
def test_a_limit_that_makes_no_sense_is_refused(
    admin: APIClient, words: dict[str, Any], pointer: str
) -> None:
    answer = admin.post(LIMITS, {"key": "system", "max_concurrent": 5, **words}, format="json")

    assert answer.status_code == 400
    assert pointer in pointers(answer)


@pytest.mark.parametrize("key", ["system", "queue:low", "task:http_request", "agent:a b", "key:*"])
def test_every_kind_of_key_can_be_limited(admin: APIClient, key: str) -> None:
    answer = admin.post(LIMITS, {"key": key, "max_concurrent": 0}, format="json")

    assert answer.status_code == 201


def test_the_key_of_a_limit_stays(admin: APIClient) -> None:
    where = admin.post(LIMITS, {"key": "system", "max_concurrent": 5}, format="json")["Location"]

    answer = admin.patch(where, {"key": "queue:low"}, format="json")

    assert pointers(answer) == {"/key"}


def test_many_schedules_are_paused_and_resumed_by_a_filter(
    admin: APIClient, caller: APIClient, make_schedule: MakeSchedule
) -> None:
    slow = [make_schedule(name, priority="low") for name in ("a", "b")]
    other = make_schedule("c")
    words = {"filter": {"priority": "low"}, "reason": "night"}

    paused = caller.post(f"{SCHEDULES}/pause", words, format="json")
    again = caller.post(f"{SCHEDULES}/pause", words, format="json")
    off = set(Schedule.objects.filter(enabled=False).values_list("name", flat=True))
    filters = {"filter": {"pause_reason": "night"}}
    resumed = admin.post(f"{SCHEDULES}/resume", filters, format="json")

    assert paused.json() == {"changed": 2, "refused": [], "remaining": 0}
    assert again.json()["changed"] == 0
    assert off == {one.name for one in slow}
    assert other.name not in off
    assert resumed.json()["changed"] == 2
    assert not Schedule.objects.filter(enabled=False).exists()


def test_only_ones_own_schedules_are_paused_by_ids(
    caller: APIClient, make_schedule: MakeSchedule
) -> None:
    own, theirs = make_schedule("a"), make_schedule("b")
    Schedule.objects.filter(id=theirs.id).update(owner=User.objects.create_user("stranger"))

    answer = caller.post(f"{SCHEDULES}/pause", {"ids": [own.id, theirs.id]}, format="json")

    assert answer.json()["changed"] == 1
    assert Schedule.objects.get(id=theirs.id).enabled


def test_who_may_not_have_a_schedule_executed_does_not_resume_it(
    caller: APIClient, make_schedule: MakeSchedule
) -> None:
    shell = make_schedule("a", enabled=False)

    answer = caller.post(f"{SCHEDULES}/resume", {"ids": [shell.id]}, format="json")

    assert answer.json()["changed"] == 0
    assert answer.json()["refused"][0]["name"] == "a"


def test_a_schedule_that_cannot_be_read_is_refused_and_the_others_are_paused(
    caller: APIClient, make_schedule: MakeSchedule
) -> None:
    corrupt, sound = make_schedule("corrupt"), make_schedule("sound")
    nonsense = {"max_retries": "many"}
    Schedule.objects.filter(id=corrupt.id).update(retry_policy=nonsense)

    done = caller.post(f"{SCHEDULES}/pause", {"ids": [corrupt.id, sound.id]}, format="json")

    (refused,) = done.json()["refused"]
    assert (done.status_code, done.json()["changed"]) == (200, 1)
    assert (refused["name"], done.json()["remaining"]) == ("corrupt", 0)
    assert "retry_policy.max_retries" in refused["detail"]
    assert not Schedule.objects.get(id=sound.id).enabled


@pytest.mark.parametrize(
    "words",
    [{}, {"ids": [], "filter": {}}, {"filter": {"colour": "red"}}, {"ids": ["x"]}, {"all": True},
     {"filter": {"priority": "urgent"}}],
    ids=str,
)  # fmt: skip
def test_a_choice_of_schedules_that_makes_no_sense_pauses_nothing(
    caller: APIClient, make_schedule: MakeSchedule, words: dict[str, Any]
) -> None:
    make_schedule()

    answer = caller.post(f"{SCHEDULES}/pause", words, format="json")

    assert answer.status_code == 400
    assert Schedule.objects.get().enabled


def test_limits_on_the_terminal(root: User) -> None:
    set_ = run("limits", "set", "queue:low", "--max-concurrent", "3", "--json")
    rate = ("--rate-count", "10", "--rate-period-ms", "60000")
    shown = run("limits", "set", "key:host:*", *rate)
    listed = run("limits", "list", "--json")
    wrong = run("limits", "set", "queue:slow", "--max-concurrent", "3")
    removed = run("limits", "remove", "queue:low")
    missing = run("limits", "remove", "queue:low")

    assert set_.document["max_concurrent"] == 3
    assert "10 in 1 min" in shown.stdout
    assert [one["key"] for one in listed.document] == ["key:host:*", "queue:low"]
    assert (wrong.exit_code, removed.exit_code, missing.exit_code) == (2, 0, 4)


def test_calendars_on_the_terminal(root: User) -> None:
    holidays = ("--holiday", "2026-12-25=Christmas Day", "--holiday", "2027-01-01")
    words = ("--name", "office", "--timezone", "Europe/Berlin", "--weekend", "fri,sat", *holidays)

    created = run("calendars", "create", *words, "--json")
    shown = run("calendars", "show", "office")
    listed = run("calendars", "list", "--json")
    wrong = run("calendars", "create", "--name", "x", "--timezone", "Mars")
    deleted = run("calendars", "delete", "office", "--yes")
    missing = run("calendars", "show", "office")

    assert created.document["weekend"] == ["fri", "sat"]
    assert created.document["holidays"][1] == {"date": "2027-01-01", "name": ""}
    assert "2026-12-25 Christmas Day" in shown.stdout
    assert len(listed.document) == 1
    assert (wrong.exit_code, deleted.exit_code, missing.exit_code) == (2, 0, 4)


def test_many_schedules_on_the_terminal(root: User, make_schedule: MakeSchedule) -> None:
    make_schedule("a", priority="low")
    make_schedule("b")

    one = run("schedule", "pause", "--filter", "priority=low", "--yes", "--json")
    rest = run("schedule", "pause", "--all", "--reason", "night", "--yes")
    resumed = run("schedule", "resume", "--all", "--yes", "--json")
    nothing = run("schedule", "pause")
    both = run("schedule", "pause", "a", "--all", "--yes")
    wrong = run("schedule", "pause", "--filter", "colour=red", "--yes")

    assert one.document == {"changed": 1, "refused": [], "remaining": 0}
    assert rest.stdout.strip() == "1 paused"
    assert resumed.document["changed"] == 2
    assert (nothing.exit_code, both.exit_code, wrong.exit_code) == (2, 2, 2)


def test_the_words_of_a_schedule_on_the_terminal(root: User) -> None:
    task = ("--task-type", "shell_command", "--task-config", '{"command": ["true"]}')
    run("calendars", "create", "--name", "office")
    timed = run(
        "schedule", "create", "--name", "a", *task, "--every", "1 hour",
        "--hours", "09:00-17:00", "--weekdays", "mon, fri", "--calendar", "office",
        "--outside", "next_opening", "--jitter-ms", "5", "--max-runs", "9", "--json",
    )  # fmt: skip
    after = run("schedule", "create", "--name", "b", *task, "--after", "a", "--on", "end", "--json")
    event = run(
        "schedule", "create", "--name", "c", *task, "--event", "execution:failed",
        "--event-filter", '{"data.name": {"eq": "a"}}', "--json",
    )  # fmt: skip
    refused = run("schedule", "delete", "a", "--yes")

    assert timed.document["execution_window"] == {
        "hours": ["09:00-17:00"], "weekdays": ["mon", "fri"],
    }  # fmt: skip
    assert (timed.document["max_runs"], timed.document["outside_window"]) == (9, "next_opening")
    assert after.document["trigger_config"] == {
        "upstreams": [timed.document["id"]], "on": "end", "mode": "any",
    }  # fmt: skip
    assert event.document["trigger_config"]["event"] == "execution:failed"
    assert refused.exit_code == 5


def test_calendars_in_the_admin(browser: Client) -> None:
    add = reverse("admin:scheduler_app_businesscalendar_add")
    words = {
        "name": "office",
        "timezone": "UTC",
        "weekend": '["fri"]',
        "holidays": '[{"date": "2026-12-25"}]',
    }

    wrong = browser.post(add, {**words, "weekend": '["holiday"]'})
    browser.post(add, words)
    stored = BusinessCalendar.objects.get()
    change = reverse("admin:scheduler_app_businesscalendar_change", args=[stored.id])
    browser.post(change, {**words, "weekend": "[]", "version": "1"})
    outdated = browser.post(change, {**words, "name": "x", "version": "1"}, follow=True)

    assert "weekend" in wrong.context["adminform"].form.errors
    assert (stored.weekend, stored.owner.username) == (["fri"], "root")
    stored.refresh_from_db()
    assert (stored.weekend, stored.version, stored.name) == ([], 2, "office")
    assert "is at version 2" in outdated.content.decode()


def test_limits_in_the_admin(browser: Client) -> None:
    add = reverse("admin:scheduler_app_limit_add")

    wrong = browser.post(add, {"key": "everything", "max_concurrent": "1"})
    browser.post(add, {"key": "system", "max_concurrent": "7"})
    limit = Limit.objects.get()
    change = reverse("admin:scheduler_app_limit_change", args=[limit.id])
    browser.post(change, {"max_concurrent": "8"})
    page = reverse("admin:scheduler_app_limit_changelist")
    shown = browser.get(page).content.decode()

    assert "key" in wrong.context["adminform"].form.errors
    assert (limit.key, limit.max_concurrent) == ("system", 7)
    limit.refresh_from_db()
    assert (limit.max_concurrent, limit.version) == (8, 2)
    assert "system" in shown


def test_a_refused_deletion_in_the_admin_says_why(
    browser: Client, make_schedule: MakeSchedule
) -> None:
    first = make_schedule("first")
    make_schedule(
        "second", trigger_type="dependent", trigger_config={"upstreams": ["first"]},
        schedule_type="", schedule_config={},
    )  # fmt: skip
    page = reverse("admin:scheduler_app_schedule_delete", args=[first.id])

    answer = browser.post(page, {"post": "yes"}, follow=True)

    assert Schedule.objects.filter(id=first.id).exists()
    assert "It starts &#x27;second&#x27;" in answer.content.decode()


@pytest.mark.parametrize(
    "model", ["backfill", "uniquework", "webhookdelivery", "dependencymark", "ratebucket"]
)
def test_every_table_has_its_list_in_the_admin(browser: Client, model: str) -> None:
    answer = browser.get(reverse(f"admin:scheduler_app_{model}_changelist"))

    assert answer.status_code == 200


def test_the_schedule_form_takes_every_word(browser: Client, root: User) -> None:
    browser.post(
        reverse("admin:scheduler_app_businesscalendar_add"), {"name": "office", "timezone": "UTC"}
    )
    words = {
        "name": "nightly", "trigger_type": "time_based", "schedule_type": "cron",
        "schedule_config": '{"cron": "0 9 * * *"}', "timezone": "UTC",
        "task_type": "shell_command", "task_config": '{"command": ["true"]}',
        "enabled": "on", "calendar": "office", "execution_window": '{"hours": ["08:00-10:00"]}',
        "start_at_0": "2126-01-01", "start_at_1": "00:00", "outside_window": "next_opening",
        "max_runs": "3", "jitter_ms": "100", "overlap_policy": "buffer_all", "buffer_limit": "7",
        "unique_key": "{night}", "unique_mode": "for_time", "unique_for_ms": "60000",
    }  # fmt: skip

    answer = browser.post(reverse("admin:scheduler_app_schedule_add"), words)

    assert answer.status_code == 302
    stored = Schedule.objects.get()
    page = browser.get(reverse("admin:scheduler_app_schedule_change", args=[stored.id]))
    assert stored.calendar is not None
    assert (stored.buffer_limit, stored.max_runs, stored.unique_mode) == (7, 3, "for_time")
    assert stored.start_at is not None
    assert json.loads(page.context["adminform"].form["execution_window"].value()) == {
        "hours": ["08:00-10:00"]
    }
    assert not stored.is_plain
