"""What happened, in the admin: read-only, found by filter and search, seen by its owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions_app import clock, lifecycle, tokens
from executions_app.ledger import Claimed
from executions_app.models import ApiToken, Execution

pytestmark = pytest.mark.django_db

LIST = "admin:executions_app_execution_changelist"
CHANGE = "admin:executions_app_execution_change"
OURS = ("scheduler_app", "agents_app", "errors_app", "executions_app")


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def visitor(client: Client, *codenames: str) -> User:
    user = User.objects.create_user("visitor", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return user


def numbers(page: Any) -> set[int]:
    return {one.number for one in page.context["cl"].result_list}


def act(client: Client, action: str, *rows: Any, page: str = LIST) -> str:
    chosen = {"action": action, "_selected_action": [str(one.pk) for one in rows]}
    return client.post(reverse(page), chosen, follow=True).content.decode()


def stored(execution_id: Any) -> Execution:
    return Execution.objects.get(id=execution_id)


def test_every_model_of_cadenza_is_in_the_admin() -> None:
    models = {one for app in OURS for one in apps.get_app_config(app).get_models()}

    assert models - set(admin.site._registry) == set()


def test_executions_are_found_by_state_time_number_id_and_name(
    root: Client, create: Callable[..., Any]
) -> None:
    queued, other = stored(create()), stored(create(snapshot={"name": "needle"}))
    lifecycle.cancel(other)

    def found(**query: str) -> set[int]:
        return numbers(root.get(reverse(LIST), query))

    assert found() == {queued.number, other.number}
    assert found(status="cancelled") == {other.number}
    assert found(status="nonsense") == {queued.number, other.number}
    assert found(since="hour", trigger="time") == {queued.number, other.number}
    assert found(q=f"#{queued.number}") == {queued.number}
    assert found(q=str(other.id)) == {other.number}
    assert found(q="needl") == {other.number}


def test_an_execution_tells_why_it_is_there_and_how_far(
    root: Client, claim: Callable[..., Claimed]
) -> None:
    claimed = claim()
    lifecycle.report_progress(claimed, {"done": 1, "total": 4, "current_step": "warm"})

    page = root.get(reverse(CHANGE, args=[claimed.id])).content.decode()

    assert "Attempt 1 of 4 runs on worker" in page
    assert "25 % warm" in page


def test_executions_can_be_neither_added_nor_edited_nor_deleted(
    root: Client, create: Callable[..., Any]
) -> None:
    execution_id = create()

    edited = root.post(reverse(CHANGE, args=[execution_id]), {"status": "completed"})
    added = root.get(reverse("admin:executions_app_execution_add"))
    deleted = root.post(reverse("admin:executions_app_execution_delete", args=[execution_id]))

    assert (edited.status_code, added.status_code, deleted.status_code) == (403, 403, 403)
    assert stored(execution_id).status == "queued"


def test_cancelling_tells_what_could_not_be_cancelled(
    root: Client, create: Callable[..., Any], claim: Callable[..., Claimed]
) -> None:
    queued, running, ended = stored(create()), stored(claim().id), stored(create())
    lifecycle.cancel(ended)

    page = act(root, "cancel", queued, running, ended)

    assert "2 cancelled or asked to stop" in page
    assert f"#{ended.number}" in page
    assert "cannot move from" in page
    assert stored(queued.id).status == "cancelled"
    assert stored(running.id).cancel_requested_at is not None


def test_an_owner_sees_their_own_and_acts_only_with_the_right(
    client: Client, create: Callable[..., Any]
) -> None:
    user = visitor(client, "view_execution")
    own, foreign = stored(create(owner_id=user.pk)), stored(create(owner_id=user.pk + 1))

    seen = numbers(client.get(reverse(LIST)))
    act(client, "cancel", own, foreign)

    assert seen == {own.number}
    assert client.get(reverse(CHANGE, args=[foreign.id])).status_code == 302
    assert stored(own.id).status == "queued"


def test_no_list_counts_whole_tables(root: Client, create: Callable[..., Any]) -> None:
    create()

    with CaptureQueriesContext(connection) as queries:
        root.get(reverse(LIST), {"status": "queued"})

    counts = [one["sql"] for one in queries if "COUNT(" in one["sql"]]
    assert counts
    assert all("LIMIT 10000" in one for one in counts)


def test_a_token_shows_no_hash_and_is_revoked(root: Client) -> None:
    user = User.objects.create_user("machine")
    token, plain = tokens.create(user, name="ci", now=clock.now())

    page = root.get(
        reverse("admin:executions_app_apitoken_change", args=[token.id])
    ).content.decode()
    act(root, "revoke", token, page="admin:executions_app_apitoken_changelist")

    assert token.prefix in page
    assert token.token_hash not in page
    assert plain not in page
    assert ApiToken.objects.get().revoked_at is not None
    assert tokens.verify(plain, now=clock.now()) is None


def test_the_audit_log_is_for_superusers(client: Client) -> None:
    visitor(client, "view_auditentry")
    tokens.create(User.objects.create_user("machine"), name="ci", now=clock.now())

    page = client.get(reverse("admin:executions_app_auditentry_changelist"))

    assert list(page.context["cl"].result_list) == []
