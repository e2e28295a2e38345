"""Plans that wait, over HTTP, on pages, in the admin and in numbers: what is shown, who answers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from agents_app.cycle import approving
from agents_app.models import Cycle, PlanApproval
from agents_app.planning.plan_changes import compared
from executions_app import clock
from executions_app.models import Execution
from scheduler_app import answers
from tests.agents_app.cycle import asked
from tests.factories import UserFactory
from tests.rest import ids_of, signed_in

APPROVALS = "/api/agents/approvals"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user() -> User:
    return asked.owner(username="ann")


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, path: str, **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def status_of(approval: PlanApproval) -> tuple[str, str]:
    approval.refresh_from_db()
    return approval.status, Execution.objects.get(id=approval.execution_id).status


# --- REST -----------------------------------------------------------------------------


def test_a_plan_is_shown_with_what_it_would_call_and_change(user: User) -> None:
    approval = asked.waiting(user, approve_plan="unsafe")

    shown = signed_in(user).get(f"{APPROVALS}/{approval.id}").json()

    assert (shown["status"], shown["asked_for"]) == ("waiting", "unsafe")
    assert shown["schedule"]["name"] == "warm the caches"
    assert shown["plan_hash"] == approval.plan_hash
    assert [one["call"] for one in shown["steps"]] == [
        "GET http://127.0.0.1:9/look",
        "POST http://127.0.0.1:9/purge",
    ]
    assert [one["risk"] for one in shown["steps"]] == ["", "POST changes something there"]
    assert [one["name"] for one in shown["risks"]] == ["purge"]
    assert (shown["tier"], shown["dropped"]) == ("deterministic", None)


def test_plans_are_chosen_by_status_schedule_and_execution(user: User) -> None:
    schedule_id = UUID(int=7)
    one, other = asked.waiting(user, schedule_id=schedule_id), asked.waiting(user)
    client = signed_in(user)
    client.post(f"{APPROVALS}/{other.id}/reject", {"reason": "no"}, format="json")

    def chosen(query: str) -> list[str]:
        return ids_of(client.get(f"{APPROVALS}{query}").json())

    assert chosen("") == [str(other.id), str(one.id)]
    assert chosen("?status=waiting") == [str(one.id)]
    assert chosen("?status=rejected,expired") == [str(other.id)]
    assert chosen(f"?schedule_id={schedule_id}") == [str(one.id)]
    assert chosen(f"?execution_id={other.execution_id}") == [str(other.id)]


def test_a_page_of_plans_costs_the_same_however_long(
    user: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(4):
        asked.waiting(user)
    client = signed_in(user)

    with django_assert_max_num_queries(6):
        shown = client.get(APPROVALS).json()["results"]

    assert [one["schedule"]["name"] for one in shown] == ["warm the caches"] * 4


def test_a_person_approves_exactly_what_was_shown(user: User) -> None:
    approval, client = asked.waiting(user), signed_in(user)

    def post(**body: Any) -> Any:
        return client.post(f"{APPROVALS}/{approval.id}/approve", body, format="json")

    unsaid, other = post(), post(plan_hash="0" * 64)
    before = status_of(approval)
    done, again = post(plan_hash=approval.plan_hash), post(plan_hash=approval.plan_hash)

    assert (unsaid.status_code, unsaid.json()["errors"][0]["pointer"]) == (400, "/plan_hash")
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert before == ("waiting", "waiting")
    assert (done.status_code, done.json()["status"]) == (200, "approved")
    assert done.json()["decided_by"] == user.pk
    assert again.status_code == 409
    assert status_of(approval) == ("approved", "pending")


def test_a_rejection_needs_a_reason_and_the_execution_says_it(user: User) -> None:
    approval, client = asked.waiting(user), signed_in(user)

    unsaid = client.post(f"{APPROVALS}/{approval.id}/reject", {}, format="json")
    done = client.post(f"{APPROVALS}/{approval.id}/reject", {"reason": "no"}, format="json")
    execution = client.get(f"/api/execution/executions/{approval.execution_id}").json()

    assert (unsaid.status_code, unsaid.json()["errors"][0]["pointer"]) == (400, "/reason")
    assert (done.json()["status"], done.json()["reason"]) == ("rejected", "no")
    assert (execution["status"], execution["outcome"]) == ("failed", "rejected")
    assert "ann said: no." in execution["why"]


def test_an_answer_after_the_end_is_a_conflict(user: User) -> None:
    approval = asked.late(asked.waiting(user))

    answer = signed_in(user).post(
        f"{APPROVALS}/{approval.id}/approve", {"plan_hash": approval.plan_hash}, format="json"
    )

    assert answer.status_code == 409
    assert "was over" in answer.json()["detail"]


@pytest.mark.parametrize("verb", ["", "/approve", "/reject"])
def test_plans_of_others_are_not_there(user: User, verb: str) -> None:
    approval = asked.waiting(user)
    bob = signed_in(UserFactory.create(is_staff=True))
    ask = bob.post if verb else bob.get

    assert ask(f"{APPROVALS}/{approval.id}{verb}").status_code == 404
    assert ids_of(bob.get(APPROVALS).json()) == []
    assert status_of(approval) == ("waiting", "waiting")


def test_administrators_decide_for_everybody(user: User) -> None:
    approval = asked.waiting(user)
    root = signed_in(UserFactory.create(is_superuser=True))

    answer = root.post(
        f"{APPROVALS}/{approval.id}/approve", {"plan_hash": approval.plan_hash}, format="json"
    )

    assert answer.status_code == 200
    assert status_of(approval) == ("approved", "pending")


def test_an_execution_and_its_cycle_say_what_they_wait_for(user: User) -> None:
    approval, client = asked.waiting(user), signed_in(user)
    path = f"/api/execution/executions/{approval.execution_id}"

    execution, cycle = client.get(path).json(), client.get(f"{path}/cycle").json()

    assert execution["status"] == "waiting"
    assert "Waits for a person to approve its plan" in execution["why"]
    assert "Unless somebody answers, it is given up" in execution["why"]
    assert (cycle["status"], cycle["approval"]["id"]) == ("waiting", str(approval.id))
    assert execution["progress"]["current_step"] == "waits for a person to approve its plan"


# --- what is new ----------------------------------------------------------------------


def test_a_plan_is_compared_with_the_last_one_that_was_carried_out(user: User) -> None:
    schedule_id = UUID(int=7)
    before = asked.waiting(user, schedule_id=schedule_id)
    steps = [
        {"target": "endpoint", "name": "look", "parameters": {"region": "eu"}},
        {"target": "endpoint", "name": "warm", "parameters": {}},
    ]
    Cycle.objects.filter(id=before.cycle_id).update(status="completed", plan={"steps": steps})
    approval = asked.waiting(user, schedule_id=schedule_id)

    shown = signed_in(user).get(f"{APPROVALS}/{approval.id}").json()

    assert [one["change"] for one in shown["steps"]] == ["changed", "new"]
    assert shown["steps"][0]["before"] == {"region": "eu"}
    assert shown["dropped"] == ["warm"]


def test_of_several_calls_of_one_thing_the_first_are_taken_for_each_other() -> None:
    def call(name: str, **parameters: Any) -> dict[str, Any]:
        return {"target": "endpoint", "name": name, "parameters": parameters}

    found, dropped = compared(
        [call("a", n=1), call("a", n=2), call("b")], [call("a", n=1), call("c"), call("a", n=3)]
    )

    assert [one.change for one in found] == ["same", "changed", "new"]
    assert (found[1].before, dropped) == ({"n": 3}, ["c"])


# --- pages ----------------------------------------------------------------------------


def test_what_waits_stands_on_the_page_and_beside_its_name_everywhere(user: User) -> None:
    browser = browser_of(user)
    before = text(browser, "/")
    asked.waiting(user, approve_plan="unsafe")

    page = text(browser, "/approvals")
    fragment = text(browser, "/approvals", **{"HX-Request": "true"})
    overview = text(browser, "/")

    for words in ("warm the caches", "1 step may change something", "Look and decide"):
        assert words in page
        assert words in fragment
    assert 'class="badge"' not in before
    assert 'class="badge"' in overview
    assert "1 question of the AI waits for an answer" in overview
    assert 'class="badge"' not in text(browser_of(UserFactory.create()), "/agents")


def test_a_plan_is_looked_at_and_approved_on_its_page(user: User) -> None:
    approval, browser = asked.waiting(user), browser_of(user)
    path = f"/approvals/plans/{approval.id}"

    page, fragment = text(browser, path), text(browser, path, **{"HX-Request": "true"})
    other = browser.post(f"{path}/approve", {"plan_hash": "0" * 64}, follow=True)
    unsaid = browser.post(f"{path}/approve", follow=True)
    before = status_of(approval)
    done = browser.post(f"{path}/approve", {"plan_hash": approval.plan_hash}, follow=True)

    for words in ("POST http://127.0.0.1:9/purge", "POST changes something there", "only reads"):
        assert words in page
        assert words in fragment
    assert approval.plan_hash in page
    assert "not the plan that waits" in other.content.decode()
    assert "does not say which plan is meant" in unsaid.content.decode()
    assert before == ("waiting", "waiting")
    assert "The plan is approved" in done.content.decode()
    assert "Reject</button>" not in done.content.decode()
    assert status_of(approval) == ("approved", "pending")


def test_a_plan_is_rejected_with_a_reason_on_its_page(user: User) -> None:
    approval, browser = asked.waiting(user), browser_of(user)
    path = f"/approvals/plans/{approval.id}"

    unsaid = browser.post(f"{path}/reject", {"reason": ""}, follow=True).content.decode()
    done = browser.post(f"{path}/reject", {"reason": "<b>no</b>"}, follow=True).content.decode()
    listed = text(browser, "/approvals/plans")

    assert "Nothing was changed: the reason" in unsaid
    assert "&lt;b&gt;no&lt;/b&gt;" in done
    assert "<b>no</b>" not in done
    assert "rejected" in listed
    assert status_of(approval) == ("rejected", "failed")


def test_pages_of_plans_of_others_are_not_there(user: User) -> None:
    approval, bob = asked.waiting(user), browser_of(UserFactory.create())
    path = f"/approvals/plans/{approval.id}"

    assert bob.get(path).status_code == 404
    assert bob.post(f"{path}/approve", {"plan_hash": approval.plan_hash}).status_code == 404
    assert "warm the caches" not in text(bob, "/approvals") + text(bob, "/approvals/plans")
    assert browser_of(user).post(f"{path}/destroy").status_code == 404
    assert Client().get(path).status_code == 302
    assert browser_of(user).get("/approvals/plans?status=nonsense").status_code == 400


def test_the_page_of_the_cycle_leads_to_the_question(user: User) -> None:
    approval = asked.waiting(user)

    page = text(browser_of(user), f"/executions/{approval.execution_id}/cycle")

    assert "Its plan waits for your answer" in page
    assert f"/approvals/plans/{approval.id}" in page


# --- numbers --------------------------------------------------------------------------


def test_answers_are_counted_for_whoever_may_give_them(user: User) -> None:
    root = UserFactory.create(is_superuser=True)
    approval = asked.waiting(user)
    counted = [answers.wanted(one) for one in (user, root, UserFactory.create())]
    approving.reject(approval, reason="no", actor=asked.by(user))

    assert counted == [1, 1, 0]
    assert answers.wanted(root) == 0


def test_metrics_count_what_waits(user: User) -> None:
    asked.waiting(user)
    root = signed_in(UserFactory.create(is_superuser=True))

    numbers = root.get("/metrics").content.decode()

    assert 'cadenza_approvals_waiting{kind="plan"} 1.0' in numbers
    assert 'cadenza_approvals_waiting{kind="next_run"} 0.0' in numbers
    assert 'cadenza_executions{queue="normal",status="waiting"} 1.0' in numbers


def test_the_admin_shows_requests_and_changes_none(user: User) -> None:
    approval = asked.waiting(user)
    root = browser_of(UserFactory.create(is_superuser=True, is_staff=True))

    listed = text(root, "/admin/agents_app/planapproval/")
    one = text(root, f"/admin/agents_app/planapproval/{approval.id}/change/")

    assert str(approval.execution_id) in listed
    assert approval.plan_hash in one
    assert 'name="_save"' not in one
    assert approval.expires_at > clock.now()
