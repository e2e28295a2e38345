"""Schedules in the admin: every word checked on its field, every write through `schedules`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from executions_app.models import AuditEntry, Execution, SystemState
from scheduler_app import dispatcher, system
from scheduler_app.models import FireRecord, Schedule

MakeSchedule = Callable[..., Schedule]
pytestmark = pytest.mark.django_db

LIST = "admin:scheduler_app_schedule_changelist"
ADD = "admin:scheduler_app_schedule_add"
CHANGE = "admin:scheduler_app_schedule_change"
WORDS = {
    "name": "nightly",
    "trigger_type": "time_based",
    "schedule_type": "cron",
    "schedule_config": '{"cron": "0 9 * * *"}',
    "timezone": "Europe/Berlin",
    "task_type": "shell_command",
    "task_config": '{"command": ["true"]}',
    "priority": "high",
    "enabled": "on",
    "overlap_policy": "skip",
    "catchup_policy": "latest",
    "retry_policy": '{"max_retries": 1}',
}


@pytest.fixture
def root(owner: User, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def visitor(owner: User, client: Client) -> Client:
    """Signed in as somebody with every permission on schedules, who owns none."""
    user = User.objects.create_user("visitor", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="scheduler_app"))
    client.force_login(user)
    return client


def act(client: Client, action: str, *rows: Any, page: str = LIST) -> str:
    """Choose an action for rows of a list; answers the page that follows."""
    chosen = {"action": action, "_selected_action": [str(one.pk) for one in rows]}
    return client.post(reverse(page), chosen, follow=True).content.decode()


def test_a_schedule_is_created_as_from_any_other_door(root: Client) -> None:
    answer = root.post(reverse(ADD), WORDS)

    stored = Schedule.objects.get()
    assert answer.status_code == 302
    assert (stored.name, stored.owner.username, stored.version) == ("nightly", "root", 1)
    assert stored.schedule_config == {"cron": "0 9 * * *"}
    assert stored.retry_policy["max_retries"] == 1
    assert stored.retry_policy["strategy"] == "exponential"
    assert stored.next_run_at is not None
    assert AuditEntry.objects.get(action="schedule.created").actor == "root"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schedule_config", '{"cron": "99 * * * *"}', "cron: minute 99"),
        ("schedule_config", '{"cron": ', "valid JSON"),
        ("timezone", "Mars/Olympus", "Mars/Olympus"),
        ("task_type", "dance", "dance"),
        ("task_config", '{"comand": 1}', "comand"),
        ("timeout_ms", "1", "greater than or equal to 100"),
        ("name", "", "required"),
        ("retry_policy", '{"max_retries": -1}', "max_retries"),
    ],
)
def test_a_wrong_word_is_an_error_of_its_field_and_nothing_is_stored(
    root: Client, field: str, value: str, message: str
) -> None:
    answer = root.post(reverse(ADD), {**WORDS, field: value})

    errors = answer.context["adminform"].form.errors
    assert answer.status_code == 200
    assert message in " ".join(errors[field])
    assert not Schedule.objects.exists()


def test_an_edit_moves_the_version_and_the_next_run(root: Client) -> None:
    root.post(reverse(ADD), WORDS)
    before = Schedule.objects.get()

    page = root.get(reverse(CHANGE, args=[before.id]))
    words = {**WORDS, "schedule_config": '{"cron": "0 10 * * *"}', "version": "1"}
    answer = root.post(reverse(CHANGE, args=[before.id]), words)

    after = Schedule.objects.get()
    assert json.loads(page.context["adminform"].form["schedule_config"].value()) == {
        "cron": "0 9 * * *"
    }
    assert answer.status_code == 302
    assert (after.version, after.id, after.owner) == (2, before.id, before.owner)
    assert after.next_run_at != before.next_run_at


def test_an_edit_of_an_outdated_page_is_refused_and_says_so(root: Client) -> None:
    root.post(reverse(ADD), WORDS)
    url = reverse(CHANGE, args=[Schedule.objects.get().id])
    root.post(url, {**WORDS, "priority": "low", "version": "1"})

    page = root.post(url, {**WORDS, "priority": "critical", "version": "1"}, follow=True)

    assert "is at version 2, not 1" in page.content.decode()
    assert Schedule.objects.get().priority == "low"


def test_a_taken_name_is_refused_and_says_so(root: Client) -> None:
    root.post(reverse(ADD), WORDS)

    page = root.post(reverse(ADD), WORDS, follow=True)

    assert "exists already" in page.content.decode()
    assert Schedule.objects.count() == 1


def test_deleting_goes_through_the_audit(root: Client, make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()

    root.post(reverse("admin:scheduler_app_schedule_delete", args=[schedule.id]), {"post": "yes"})

    assert not Schedule.objects.exists()
    assert AuditEntry.objects.get(action="schedule.deleted").actor == "root"


def test_schedules_are_triggered_disabled_and_enabled_from_the_list(
    root: Client, make_schedule: MakeSchedule
) -> None:
    first, second = make_schedule("first"), make_schedule("second")

    triggered = act(root, "trigger", first, second)
    disabled = act(root, "disable", first)
    first.refresh_from_db()
    was_enabled = first.enabled
    act(root, "enable", first)
    first.refresh_from_db()

    assert "2 triggered" in triggered
    assert "1 disabled" in disabled
    assert {one.schedule_id for one in Execution.objects.all()} == {first.id, second.id}
    assert (was_enabled, first.enabled) == (False, True)


def test_the_list_is_searched_and_filtered(root: Client, make_schedule: MakeSchedule) -> None:
    make_schedule("needle", priority="high")
    make_schedule("hay")

    def found(**query: str) -> list[str]:
        page = root.get(reverse(LIST), query)
        return [one.name for one in page.context["cl"].result_list]

    assert sorted(found()) == ["hay", "needle"]
    assert found(q="needl") == ["needle"]
    assert found(priority="high") == ["needle"]
    assert sorted(found(since="hour", enabled__exact="1")) == ["hay", "needle"]
    assert found(enabled__exact="0") == []


def test_others_see_and_touch_only_what_is_theirs(
    visitor: Client, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule("not theirs", late_by=timedelta(seconds=1))
    dispatcher.dispatch_due()

    page = visitor.get(reverse(LIST)).content.decode()
    change = visitor.get(reverse(CHANGE, args=[schedule.id]))
    act(visitor, "disable", schedule)
    fires = visitor.get(reverse("admin:scheduler_app_firerecord_changelist"))

    schedule.refresh_from_db()
    assert "not theirs" not in page
    assert change.status_code == 302
    assert schedule.enabled
    assert list(fires.context["cl"].result_list) == []


def test_fires_are_shown_and_cannot_be_changed(root: Client, make_schedule: MakeSchedule) -> None:
    make_schedule(late_by=timedelta(seconds=1))
    dispatcher.dispatch_due()
    record = FireRecord.objects.get()

    listed = root.get(
        reverse("admin:scheduler_app_firerecord_changelist"), {"reason": "dispatched"}
    )
    url = reverse("admin:scheduler_app_firerecord_change", args=[record.id])
    changed = root.post(url, {"count": "7"})

    assert [one.id for one in listed.context["cl"].result_list] == [record.id]
    assert root.get(url).status_code == 200
    assert changed.status_code == 403


def test_the_system_is_stopped_and_started(root: Client, owner: User) -> None:
    state = SystemState.objects.get()
    page = "admin:executions_app_systemstate_changelist"

    act(root, "stop_dispatch", state, page=page)
    stopped = system.read().scheduler_running
    act(root, "start_dispatch", state, page=page)

    assert (stopped, system.read().scheduler_running) == (False, True)


@pytest.mark.parametrize("model", list(admin.site._registry))
def test_every_registered_model_has_a_list_with_the_look_of_the_rest(
    root: Client, model: Any
) -> None:
    page = root.get(reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"))

    assert page.status_code == 200
    assert "unfold" in page.content.decode()


def test_the_page_of_a_schedule_tells_why_its_last_fires_did_or_did_not_run(
    root: Client, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule("<b>", late_by=timedelta(seconds=5))
    page = reverse(CHANGE, args=[schedule.pk])
    before = root.get(page).content.decode()
    dispatcher.dispatch_due()

    after = root.get(page).content.decode()

    assert "is due and waits" in before or "did not exist yet" in before
    assert "became execution #" in after
    assert root.get(reverse(ADD)).status_code == 200
