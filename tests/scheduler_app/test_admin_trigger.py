"""The admin's form that runs a schedule with parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from executions_app.models import AuditEntry, Execution
from scheduler_app.models import Schedule

MakeSchedule = Callable[..., Schedule]

CHANGE = "admin:scheduler_app_schedule_change"
TRIGGER = "admin:scheduler_app_schedule_trigger_with"
EXECUTION = "admin:executions_app_execution_change"


@pytest.fixture
def root(owner: User, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_the_page_of_a_schedule_leads_to_the_form(
    root: Client, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule()
    url = reverse(TRIGGER, args=[schedule.id])

    page = root.get(reverse(CHANGE, args=[schedule.id])).content.decode()
    form = root.get(url)

    assert url in page
    assert form.status_code == 200
    for name in ("parameters", "overlap", "unique_key"):
        assert f'name="{name}"' in form.content.decode()


def test_it_runs_with_what_was_written_and_the_run_is_shown(
    root: Client, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule(limit_key="tenant:{tenant}")
    words = {"parameters": '{"tenant": "acme"}', "overlap": "allow", "unique_key": "mine"}

    answer = root.post(reverse(TRIGGER, args=[schedule.id]), words, follow=True)

    execution = Execution.objects.get()
    assert answer.redirect_chain == [(reverse(EXECUTION, args=[execution.id]), 302)]
    assert execution.parameters == {"tenant": "acme"}
    assert (execution.limit_key, execution.unique_key) == ("tenant:acme", "mine")
    assert f"Execution #{execution.number} is" in answer.content.decode()
    assert AuditEntry.objects.get(action="schedule.triggered").actor == "root"


def test_nothing_need_be_written(root: Client, make_schedule: MakeSchedule) -> None:
    root.post(reverse(TRIGGER, args=[make_schedule().id]), {"parameters": " "})

    assert Execution.objects.get().parameters == {}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("{", "This is no JSON"),
        ("[1]", "Write a JSON object"),
        ('{"x": NaN}', "NaN is not JSON"),
        (f'{{"x": "{"y" * 70_000}"}}', "They are longer than"),
    ],
)
def test_what_is_no_object_is_refused_and_stays_written(
    root: Client, make_schedule: MakeSchedule, parameters: str, said: str
) -> None:
    answer = root.post(reverse(TRIGGER, args=[make_schedule().id]), {"parameters": parameters})

    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert answer.context["form"]["parameters"].value() == parameters
    assert not Execution.objects.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"limit_key": "of:{tenant}"}, "{tenant} has no value"), ({}, "admits no further one")],
)
def test_what_its_policies_refuse_is_told(
    root: Client, make_schedule: MakeSchedule, changes: dict[str, Any], said: str
) -> None:
    schedule = make_schedule(**changes)
    if not changes:
        root.post(reverse(TRIGGER, args=[schedule.id]), {"parameters": "{}"})
    before = Execution.objects.count()

    answer = root.post(reverse(TRIGGER, args=[schedule.id]), {"parameters": "{}"})

    assert said in answer.content.decode()
    assert Execution.objects.count() == before


def test_the_schedule_of_somebody_else_is_not_there(
    client: Client, make_schedule: MakeSchedule
) -> None:
    schedule = make_schedule()
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="change_schedule"))
    client.force_login(staff)

    answer = client.post(reverse(TRIGGER, args=[schedule.id]), {"parameters": "{}"})

    assert answer.status_code == 404
    assert not Execution.objects.exists()


def test_who_may_only_look_may_not_trigger(client: Client, make_schedule: MakeSchedule) -> None:
    schedule = make_schedule()
    schedule.owner.is_staff = True
    schedule.owner.save()
    schedule.owner.user_permissions.add(Permission.objects.get(codename="view_schedule"))
    client.force_login(schedule.owner)
    url = reverse(TRIGGER, args=[schedule.id])

    page = client.get(reverse(CHANGE, args=[schedule.id])).content.decode()

    assert url not in page
    assert client.post(url, {"parameters": "{}"}).status_code == 403
