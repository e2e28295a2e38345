"""Bulk operations over HTTP, at a terminal and in the admin: who begins, sees and aborts them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from errors_app.models import DeadLetter
from scheduler_app.bulk import advance
from scheduler_app.models import BulkOperation
from scheduler_app.models_bulk import BulkVerb
from tests.factories import UserFactory
from tests.rest import ids_of, signed_in
from tests.scheduler_app.ruins import given_up
from tests.terminal import run

BULK = "/api/bulk-operations"
REQUEUE = {"verb": "requeue", "filter": {"error_class": "timeout"}, "note": "it is back"}
pytestmark = pytest.mark.django_db


@pytest.fixture
def caller(owner: User) -> APIClient:
    return signed_in(owner)


@pytest.fixture
def root(owner: User) -> User:
    return User.objects.create_superuser("root")


def post(client: APIClient, words: dict[str, Any], **headers: str) -> Any:
    return client.post(BULK, words, format="json", headers=headers)


def test_an_operation_is_begun_followed_and_shown(caller: APIClient, owner: User) -> None:
    given_up(owner, 2, error_class="timeout")
    given_up(owner, 1)

    begun = post(caller, REQUEUE)
    advance.advance()
    row = caller.get(begun["Location"]).json()

    assert (begun.status_code, begun.json()["status"]) == (202, "running")
    assert begun["Location"] == f"{BULK}/{row['id']}"
    assert (row["status"], row["list"], row["total"], row["done"]) == (
        "completed", "dead_letters", 2, 2,
    )  # fmt: skip
    assert (row["note"], row["filter"]) == ("it is back", {"error_class": "timeout"})
    assert row["ended_at"].endswith("Z")


def test_a_dry_run_says_for_which_rows_and_begins_nothing(caller: APIClient, owner: User) -> None:
    (letter,) = given_up(owner, 1, error_class="timeout")

    answer = post(caller, {**REQUEUE, "dry_run": True})

    assert answer.status_code == 200
    assert answer.json() == {
        "verb": "requeue",
        "total": 1,
        "is_total_capped": False,
        "first": [{"id": str(letter.id), "name": "a job", "status": "open"}],
    }
    assert not BulkOperation.objects.exists()


@pytest.mark.parametrize(
    ("words", "pointer"),
    [
        ({"verb": "requeue"}, "/filter"),
        ({"verb": "requeue", "filter": {}}, "/filter"),
        ({"verb": "requeue", "filter": {"error_class": "x"}}, "/filter/error_class"),
        ({"verb": "requeue", "filter": {"error_class": ""}}, "/filter/error_class"),
        ({"verb": "requeue", "filter": {"colour": "red"}}, "/filter/colour"),
        ({"verb": "requeue", "filter": {"schedule_id": {}}}, "/filter/schedule_id"),
        ({"verb": "requeue", "filter": "all"}, "/filter"),
        ({"verb": "requeue", "filter": {"handling": "open"}, "all": True}, "/all"),
        ({"verb": "delete", "all": True}, "/verb"),
        ({"verb": "requeue", "all": True, "until": "2020-01-01T00:00:00Z"}, "/until"),
        ({"verb": "requeue", "all": True, "colour": "red"}, "/colour"),
    ],
    ids=str,
)
def test_what_makes_no_choice_is_refused(
    caller: APIClient, owner: User, words: dict[str, Any], pointer: str
) -> None:
    given_up(owner)

    answer = post(caller, words)

    assert answer.status_code == 400
    assert pointer in {one["pointer"] for one in answer.json()["errors"]}
    assert not BulkOperation.objects.exists()


def test_values_of_a_filter_may_be_written_as_json(caller: APIClient, owner: User) -> None:
    given_up(owner, 2)

    words = {"errorClass": ["permanent", "timeout"]}
    letters = post(caller, {"verb": "requeue", "filter": words, "dryRun": True})
    executions = post(caller, {"verb": "retry", "filter": {"dead": True}, "dry_run": True})
    twice = {"error_class": "timeout", "errorClass": "permanent"}
    refused = post(caller, {"verb": "requeue", "filter": twice})

    assert (letters.json()["total"], executions.json()["total"]) == (2, 2)
    assert refused.status_code == 400


def test_operations_of_others_are_not_there(caller: APIClient, owner: User) -> None:
    given_up(owner, 2)
    where = post(caller, {"verb": "requeue", "all": True})["Location"]
    stranger = signed_in(UserFactory.create())

    answers = [stranger.get(where), stranger.post(f"{where}/abort")]

    assert {one.status_code for one in answers} == {404}
    assert ids_of(stranger.get(BULK).json()) == []
    assert BulkOperation.objects.get().status == "running"


@pytest.mark.parametrize("verb", ["cancel", "retry", "requeue", "discard", "resolve", "ignore"])
def test_nobody_reaches_rows_of_others_by_any_verb(owner: User, verb: str) -> None:
    given_up(owner, 2)
    stranger = signed_in(UserFactory.create())

    plan = post(stranger, {"verb": verb, "all": True, "dry_run": True}).json()
    begun = post(stranger, {"verb": verb, "all": True}).json()
    advance.advance()

    operation = BulkOperation.objects.get(id=begun["id"])
    assert (plan["total"], plan["first"]) == (0, [])
    assert (operation.status, operation.done, operation.refused) == ("completed", 0, 0)
    assert set(DeadLetter.objects.values_list("handling", flat=True)) == {""}


def test_an_administrator_acts_on_the_rows_of_all(root: User, owner: User) -> None:
    given_up(owner, 2)

    begun = post(signed_in(root), {"verb": "requeue", "all": True})

    assert begun.json()["total"] == 2


def test_nothing_is_begun_without_signing_in(owner: User) -> None:
    given_up(owner)

    answer = post(APIClient(), {"verb": "requeue", "all": True})

    assert answer.status_code == 401
    assert not BulkOperation.objects.exists()


def test_a_request_that_is_sent_twice_begins_one(caller: APIClient, owner: User) -> None:
    given_up(owner)
    headers = {"Idempotency-Key": "k-1"}

    first, second = (post(caller, {"verb": "requeue", "all": True}, **headers) for _ in range(2))
    other = post(caller, {"verb": "discard", "all": True}, **headers)

    assert first.json() == second.json()
    assert (second["Idempotent-Replay"], second["Location"]) == ("true", first["Location"])
    assert (other.status_code, BulkOperation.objects.count()) == (422, 1)


def test_an_abort_is_answered_and_a_second_is_a_conflict(caller: APIClient, owner: User) -> None:
    given_up(owner)
    where = post(caller, {"verb": "requeue", "all": True})["Location"]

    aborted = caller.post(f"{where}/abort", {"note": "wrong filter"}, format="json")
    again = caller.post(f"{where}/abort")

    assert (aborted.status_code, aborted.json()["status"]) == (200, "aborted")
    assert (aborted.json()["detail"], again.status_code) == ("wrong filter", 409)


@pytest.mark.django_db(transaction=True)
def test_the_list_is_filtered(caller: APIClient, owner: User) -> None:
    given_up(owner)
    requeue, discard = (
        post(caller, {"verb": verb, "all": True}).json()["id"] for verb in ("requeue", "discard")
    )
    caller.post(f"{BULK}/{discard}/abort")

    def found(query: str) -> list[str]:
        return ids_of(caller.get(f"{BULK}?{query}").json())

    assert found("") == [discard, requeue]
    assert found("status=running") == [requeue]
    assert found("verb=discard,cancel") == [discard]
    assert caller.get(f"{BULK}?status=gone").status_code == 400


def test_the_terminal_begins_lists_shows_and_aborts(root: User, owner: User) -> None:
    given_up(owner, 2, error_class="timeout")
    chosen = ("--filter", "error_class=timeout")

    planned = run("bulk", "create", "requeue", *chosen, "--dry-run", "--json")
    unsure = run("bulk", "create", "requeue", *chosen)
    begun = run("bulk", "create", "requeue", *chosen, "--yes", "--json")
    listed = run("bulk", "list", "--status", "running", "--json")
    aborted = run("bulk", "abort", begun.document["id"], "--yes", "--json")
    shown = run("bulk", "show", begun.document["id"])

    assert (planned.document["total"], len(planned.document["first"])) == (2, 2)
    assert (unsure.exit_code, BulkOperation.objects.count()) == (5, 1)
    assert [one["id"] for one in listed.document] == [begun.document["id"]]
    assert aborted.document["status"] == "aborted"
    assert "0 of 2" in shown.stdout


def test_help_has_a_line_for_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    run("bulk", "create", "--help")

    _, _, verbs = capsys.readouterr().out.partition("verbs:\n")
    assert [line.split()[0] for line in verbs.splitlines()] == [str(one) for one in BulkVerb]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("create", "requeue"), 2),
        (("create", "requeue", "--filter", "colour=red"), 2),
        (("create", "requeue", "--filter", "nonsense"), 2),
        (("create", "delete", "--all"), 2),
        (("show", "nonsense"), 4),
        (("abort", "0195f2c4-9a00-7a0b-8d11-5a6b7c8d9e0f", "--yes"), 4),
    ],
    ids=str,
)
def test_the_terminal_says_what_is_wrong(root: User, words: tuple[str, ...], code: int) -> None:
    assert run("bulk", *words).exit_code == code
    assert not BulkOperation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_terminal_waits_for_the_end(owner: User) -> None:
    User.objects.create_superuser("root")
    given_up(owner, 2)
    is_over = Event()

    def beat() -> None:
        try:
            while not is_over.wait(0.01):
                advance.advance()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as beats:
        beats.submit(beat)
        ended = run("bulk", "create", "requeue", "--all", "--yes", "--wait", "--json")
        is_over.set()

    assert (ended.exit_code, ended.document["status"]) == (0, "completed")
    assert ended.document["done"] == 2
    assert "of 2" in ended.stderr


def test_the_terminal_does_not_wait_for_ever(root: User, owner: User) -> None:
    given_up(owner)

    ended = run("bulk", "create", "requeue", "--all", "--yes", "--wait", "--timeout", "0")

    assert ended.exit_code == 124
    assert BulkOperation.objects.get().status == "running"


def test_the_admin_shows_operations_and_aborts_them(
    root: User, owner: User, client: Client
) -> None:
    client.force_login(root)
    given_up(owner)
    begun = run("bulk", "create", "requeue", "--all", "--yes", "--json").document
    page = reverse("admin:scheduler_app_bulkoperation_changelist")

    shown = client.get(page).content.decode()
    words = {"action": "abort", "_selected_action": begun["id"]}
    aborted = client.post(page, words, follow=True).content.decode()

    assert "requeue" in shown
    assert "1 aborted" in aborted
    assert BulkOperation.objects.get().status == "aborted"
