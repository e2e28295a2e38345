"""Decisions and cycles over HTTP, on pages and in the admin: who sees them, what they say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from agents_app.models import Tier
from agents_app.tiers import WORDS, Tiered
from executions_app import clock
from scheduler_app import explained
from scheduler_app.models import Schedule, ScheduleDecision
from tests.factories import UserFactory
from tests.rest import ids_of, signed_in
from tests.scheduler_app.advising import HOUR, MINUTE, advise, decided
from tests.scheduler_app.cycles import a_cycle, an_agents_execution

MakeSchedule = Callable[..., Schedule]
NOBODYS = UUID("0195f2c4-9000-7a0b-8d11-5a6b7c8d9e0f")
DECISIONS = "/api/scheduler/decisions"
pytestmark = pytest.mark.django_db


@pytest.fixture
def hourly(make_schedule: MakeSchedule) -> Schedule:
    made = make_schedule(schedule_config={"interval_ms": 3_600_000})
    Schedule.objects.filter(id=made.id).update(task_type="agent", task_config={"goal": "warm"})
    return Schedule.objects.get(id=made.id)


def proposal(schedule: Schedule, **advice: Any) -> ScheduleDecision:
    words = advice or {"next_run_at": clock.now() + 5 * MINUTE}
    return decided(advise(schedule, autonomy="propose", **words))


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, path: str, **headers: str) -> str:
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


# --- REST -----------------------------------------------------------------------------


def test_a_decision_says_what_was_proposed_and_what_limits_made_of_it(
    hourly: Schedule, owner: User
) -> None:
    decision = proposal(hourly, next_run_at=clock.now() + 40 * HOUR)

    shown = signed_in(owner).get(f"{DECISIONS}/{decision.id}").json()

    assert (shown["status"], shown["kind"], shown["autonomy"]) == (
        "proposed",
        "next_run_at",
        "propose",
    )
    assert shown["schedule"] == {"id": str(hourly.id), "name": "a job"}
    assert shown["notes"][0]["limit"] == "max_interval"
    assert shown["clamped"]["next_run_at"] == shown["notes"][0]["after"]
    assert shown["decided_by"] is None


def test_decisions_are_chosen_by_schedule_and_status(
    hourly: Schedule, make_schedule: MakeSchedule, owner: User
) -> None:
    other = make_schedule(name="another", schedule_config={"interval_ms": 3_600_000})
    mine, theirs = proposal(hourly), proposal(other)
    recorded = decided(advise(hourly))
    client = signed_in(owner)

    def chosen(query: str) -> list[str]:
        answer = client.get(f"{DECISIONS}{query}")
        assert answer.status_code == 200, answer.json()
        return ids_of(answer.json())

    assert set(chosen("")) == {str(mine.id), str(theirs.id), str(recorded.id)}
    assert set(chosen("?status=proposed")) == {str(mine.id), str(theirs.id)}
    assert set(chosen(f"?schedule_id={hourly.id}")) == {str(mine.id), str(recorded.id)}
    of_schedule = client.get(f"/api/scheduler/schedules/{hourly.id}/decisions?status=recorded")
    assert ids_of(of_schedule.json()) == [str(recorded.id)]


def test_a_page_of_decisions_costs_the_same_however_long(
    hourly: Schedule, owner: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(6):
        decided(advise(hourly))
    client = signed_in(owner)

    with django_assert_max_num_queries(5):
        shown = client.get(DECISIONS).json()["results"]

    assert [one["schedule"]["name"] for one in shown] == ["a job"] * 6


def test_a_person_says_yes_no_and_back_again_over_rest(hourly: Schedule, owner: User) -> None:
    client = signed_in(owner)
    first = proposal(hourly)

    adopted = client.post(f"{DECISIONS}/{first.id}/approve")
    again = client.post(f"{DECISIONS}/{first.id}/approve")
    reverted = client.post(f"{DECISIONS}/{first.id}/revert")
    second = proposal(Schedule.objects.get(id=hourly.id))
    unsaid = client.post(f"{DECISIONS}/{second.id}/reject", {}, format="json")
    refused = client.post(f"{DECISIONS}/{second.id}/reject", {"reason": "no"}, format="json")

    assert (adopted.status_code, adopted.json()["status"]) == (200, "adopted")
    assert adopted.json()["decided_by"] == owner.pk
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert reverted.json()["status"] == "reverted"
    assert (unsaid.status_code, unsaid.json()["errors"][0]["pointer"]) == (400, "/reason")
    assert (refused.json()["status"], refused.json()["refusal"]) == ("refused", "no")


def test_an_approval_after_the_end_is_a_conflict(hourly: Schedule, owner: User) -> None:
    decision = proposal(hourly)
    ScheduleDecision.objects.filter(id=decision.id).update(expires_at=Now() - MINUTE)

    answer = signed_in(owner).post(f"{DECISIONS}/{decision.id}/approve")

    assert answer.status_code == 409
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize("verb", ["", "/approve", "/reject", "/revert"])
def test_decisions_of_others_are_not_there(hourly: Schedule, verb: str) -> None:
    decision = proposal(hourly)
    bob = signed_in(UserFactory.create())
    ask = bob.post if verb else bob.get

    assert ask(f"{DECISIONS}/{decision.id}{verb}").status_code == 404
    assert ids_of(bob.get(DECISIONS).json()) == []
    assert bob.get(f"/api/scheduler/schedules/{hourly.id}/decisions").status_code == 404
    decision.refresh_from_db()
    assert decision.status == "proposed"
    root = signed_in(UserFactory.create(is_superuser=True))
    assert root.get(f"{DECISIONS}/{decision.id}").status_code == 200


def test_a_schedule_says_where_its_next_run_comes_from(
    hourly: Schedule, make_schedule: MakeSchedule, owner: User
) -> None:
    plain = make_schedule(
        name="plain", task_type="http_request", task_config={"url": "http://127.0.0.1:1/"}
    )
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    client = signed_in(owner)

    one = client.get(f"/api/scheduler/schedules/{hourly.id}").json()
    listed = {row["id"]: row for row in client.get("/api/scheduler/schedules").json()["results"]}

    by_decision = {"kind": "decision", "decision_id": str(decision.id)}
    by_rule = {"kind": "rule", "decision_id": None}
    assert one["next_run_source"] == listed[str(hourly.id)]["next_run_source"] == by_decision
    assert listed[str(plain.id)]["next_run_source"] == by_rule
    body = {key: value for key, value in listed[str(plain.id)].items() if key != "id"}
    kept = client.put(f"/api/scheduler/schedules/{plain.id}", body, format="json")
    assert kept.status_code == 200, kept.json()


def test_the_list_of_what_ais_carry_out_says_where_each_next_run_comes_from(
    hourly: Schedule,
    make_schedule: MakeSchedule,
    owner: User,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    others = [make_schedule(name=f"by its rule {number}") for number in range(8)]
    idle = make_schedule(name="idle", enabled=False)
    theirs = Schedule.objects.filter(id__in=[one.id for one in (*others, idle)])
    theirs.update(task_type="agent", task_config={"goal": "keep warm"})
    Schedule.objects.filter(id=idle.id).update(next_run_at=None)

    with django_assert_max_num_queries(8):
        found = signed_in(owner).get("/api/agents/scheduled").json()["results"]

    sources = {row["schedule"]["id"]: row["next_run_source"] for row in found}
    assert sources == {
        str(hourly.id): {"kind": "decision", "decision_id": str(decision.id)},
        **{str(one.id): {"kind": "rule", "decision_id": None} for one in others},
        str(idle.id): None,
    }


def test_a_cycle_is_told_whole_without_the_prompts(hourly: Schedule, owner: User) -> None:
    execution = an_agents_execution(owner, schedule_id=hourly.id)
    decision = proposal(hourly)
    a_cycle(execution, tier="deterministic", decision_id=decision.id)

    answer = signed_in(owner).get(f"/api/execution/executions/{execution.number}/cycle")

    assert answer.status_code == 200, answer.json()
    shown = answer.json()
    assert (shown["tier"], shown["is_lower_tier"]) == ("deterministic", True)
    assert shown["tier_reason"] == "the model did not answer"
    assert shown["agent"]["name"] == "keeper"
    assert shown["stages"] == [
        {"name": "plan", "duration_ms": 1200},
        {"name": "execute", "duration_ms": 300},
    ]
    assert [one["status"] for one in shown["steps"]] == ["completed", "failed"]
    assert [one["duration_ms"] for one in shown["steps"]] == [2000, 3000]
    assert [one["malformed_class"] for one in shown["calls"]] == ["semantic_violation", "", ""]
    assert shown["repairs"] == 1
    assert shown["notes"] == ["a step with an unknown endpoint was left out"]
    assert (shown["prompt_tokens"], shown["cost_usd"]) == (900, "0.012300")
    assert shown["decision"]["id"] == str(decision.id)
    assert "the whole" not in answer.content.decode()


def test_steps_are_told_with_their_results(owner: User) -> None:
    execution = an_agents_execution(owner)
    a_cycle(execution)

    shown = signed_in(owner).get(f"/api/execution/executions/{execution.id}/steps").json()

    assert [(one["name"], one["result"]) for one in shown] == [
        ("warm-eu", {"status": 200}),
        ("warm-us", None),
    ]


def test_there_is_no_cycle_without_an_ai_and_none_of_others(owner: User) -> None:
    plain, mine = an_agents_execution(owner), an_agents_execution(owner)
    a_cycle(mine)
    bob = signed_in(UserFactory.create())

    def status(client: Any, execution: Any, what: str) -> int:
        found: int = client.get(f"/api/execution/executions/{execution.id}/{what}").status_code
        return found

    assert status(signed_in(owner), plain, "cycle") == 404
    assert status(signed_in(owner), mine, "cycle") == 200
    assert (status(bob, mine, "cycle"), status(bob, mine, "steps")) == (404, 404)


def test_a_lower_tier_shows_wherever_the_execution_is(owner: User) -> None:
    execution = an_agents_execution(owner)
    a_cycle(execution, tier="last_good")
    clean = an_agents_execution(owner)
    a_cycle(clean)
    client = signed_in(owner)

    one = client.get(f"/api/execution/executions/{execution.id}").json()
    listed = {
        row["id"]: row["tier"] for row in client.get("/api/execution/executions").json()["results"]
    }
    overview = text(browser_of(owner), "/")

    assert one["tier"] == "last_good"
    assert "Not a clean AI run: without a model: the last good plan" in one["why"]
    assert listed == {str(execution.id): "last_good", str(clean.id): "model"}
    assert overview.count("not a clean AI run") == 1
    assert "planned by the model" in overview
    assert "clean AI" not in explained.why(clean, now=clock.now())


@pytest.mark.parametrize("tier", list(Tier))
def test_every_tier_has_words_and_all_but_the_best_are_lower(tier: Tier) -> None:
    assert WORDS[tier]
    assert Tiered(tier, "").is_lower == (tier not in {Tier.NONE, Tier.MODEL})


# --- pages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/approvals", f"/approvals/{NOBODYS}", f"/executions/{NOBODYS}/cycle"]
)
def test_who_is_not_signed_in_is_asked_to(path: str) -> None:
    whole, fragment = Client().get(path), Client().get(path, headers={"HX-Request": "true"})

    assert (whole.status_code, whole["Location"]) == (302, f"/admin/login/?next={path}")
    assert fragment["HX-Redirect"].startswith("/admin/login/?next=%2F")


def test_approvals_says_what_would_change_and_why(hourly: Schedule, owner: User) -> None:
    proposal(hourly, next_run_at=clock.now() + 40 * HOUR)
    browser = browser_of(owner)

    page = text(browser, "/approvals")
    fragment = text(browser, "/approvals", **{"HX-Request": "true"})

    for words in ("a job", "Next run", "instead of a run", "it is quiet", "Approve", "0.80"):
        assert words in page
    assert "the longest time between two runs" in page
    assert "<html" not in fragment
    assert "No decision here" in text(browser, "/approvals?status=recorded")
    assert browser.get("/approvals?status=nonsense").status_code == 400


def test_the_overview_tells_that_proposals_wait_and_whose_idea_a_fire_is(
    hourly: Schedule, owner: User
) -> None:
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    before = text(browser_of(owner), "/")
    proposal(Schedule.objects.get(id=hourly.id), next_run_at=clock.now() + 9 * MINUTE)

    page = text(browser_of(owner), "/")

    assert f'this time <a href="/approvals/{decision.id}">' in page
    assert "for an answer" not in before
    assert "1 question of the AI waits for an answer" in page
    assert "for an answer" not in text(browser_of(UserFactory.create()), "/")


def test_an_outdated_proposal_says_so(hourly: Schedule, owner: User) -> None:
    decision = proposal(hourly)
    Schedule.objects.filter(id=hourly.id).update(enabled=False)

    assert "comes too late: the schedule is disabled" in text(browser_of(owner), "/approvals")
    page = text(browser_of(owner), f"/approvals/{decision.id}")
    assert "This comes too late: the schedule is disabled" in page


def test_forms_approve_reject_and_revert(hourly: Schedule, owner: User) -> None:
    browser, first = browser_of(owner), proposal(hourly)

    done = browser.post(f"/approvals/{first.id}/approve", {"back": "/approvals"})
    told = text(browser, f"/approvals/{first.id}")
    browser.post(f"/approvals/{first.id}/revert")
    reverted = text(browser, f"/approvals/{first.id}")
    second = proposal(Schedule.objects.get(id=hourly.id))
    browser.post(f"/approvals/{second.id}/reject", {"reason": ""})
    unsaid = text(browser, f"/approvals/{second.id}")
    browser.post(f"/approvals/{second.id}/reject", {"reason": "not at night"})
    rejected = text(browser, f"/approvals/{second.id}")

    assert (done.status_code, done["Location"]) == (302, "/approvals")
    assert "The proposal is adopted" in told
    assert "Revert" in told
    assert "The decision is reverted" in reverted
    assert "Nothing was changed: the reason" in unsaid
    assert "not at night" in rejected
    second.refresh_from_db()
    assert second.status == "refused"


def test_an_act_that_comes_too_late_is_told(hourly: Schedule, owner: User) -> None:
    browser, decision = browser_of(owner), proposal(hourly)
    Schedule.objects.filter(id=hourly.id).update(enabled=False)

    browser.post(f"/approvals/{decision.id}/approve")

    assert "too late: the schedule is disabled" in text(browser, f"/approvals/{decision.id}")
    decision.refresh_from_db()
    assert decision.status == "superseded"


def test_pages_of_others_are_not_there(hourly: Schedule, owner: User) -> None:
    decision, execution = proposal(hourly), an_agents_execution(owner)
    a_cycle(execution)
    bob = browser_of(UserFactory.create())

    assert "a job" not in text(bob, "/approvals?status=all")
    assert bob.get(f"/approvals/{decision.id}").status_code == 404
    assert bob.post(f"/approvals/{decision.id}/approve").status_code == 404
    assert bob.get(f"/executions/{execution.id}/cycle").status_code == 404
    assert browser_of(owner).post(f"/approvals/{decision.id}/destroy").status_code == 404


def test_the_page_of_a_cycle_tells_its_story(hourly: Schedule, owner: User) -> None:
    execution = an_agents_execution(owner, schedule_id=hourly.id)
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))
    a_cycle(execution, tier="deterministic", decision_id=decision.id)

    page = text(browser_of(owner), f"/executions/{execution.id}/cycle")

    for words in (
        "Not a clean AI run: without a model: all endpoints in their order",
        "the model did not answer",
        "both are independent",
        "one of two is warm",
        "a step with an unknown endpoint was left out",
        "warm-us",
        "HTTP 503",
        "semantic_violation",
        "Europe wakes first",
        "1 to repair an answer",
        f"/approvals/{decision.id}",
        "adopted",
    ):
        assert words in page
    assert page.count('<rect class="completed"') == 1
    assert page.count('<rect class="failed"') == 1


def test_a_cycle_that_only_began_has_a_page(owner: User) -> None:
    execution = an_agents_execution(owner)
    cycle = a_cycle(execution, tier="", plan=None, strategy="", timings={}, notes=[])
    cycle_less = an_agents_execution(owner)

    page = text(browser_of(owner), f"/executions/{execution.id}/cycle")

    assert "not planned yet" in page
    assert "clean AI" not in page
    assert browser_of(owner).get(f"/executions/{cycle_less.id}/cycle").status_code == 404
    assert cycle.decision_id is None


def test_what_an_ai_wrote_is_shown_as_text(hourly: Schedule, owner: User) -> None:
    evil = "<script>alert(1)</script>"
    decision = proposal(hourly, next_run_at=clock.now() + 5 * MINUTE, reason=evil)
    execution = an_agents_execution(owner)
    a_cycle(execution, summary=evil, notes=[evil])

    for path in ("/approvals", f"/approvals/{decision.id}", f"/executions/{execution.id}/cycle"):
        assert evil not in text(browser_of(owner), path)


# --- admin ----------------------------------------------------------------------------


@pytest.fixture
def root() -> Client:
    return browser_of(UserFactory.create(is_superuser=True, is_staff=True))


def test_the_admin_shows_decisions_and_acts_on_them(hourly: Schedule, root: Client) -> None:
    decision = proposal(hourly)
    path = "/admin/scheduler_app/scheduledecision/"

    listed = text(root, path)
    one = text(root, f"{path}{decision.id}/change/")
    acted = root.post(path, {"action": "approve", "_selected_action": [str(decision.id)]})

    assert "next run" in listed
    assert "it is quiet" in one
    assert acted.status_code == 302
    decision.refresh_from_db()
    assert decision.status == "adopted"


def test_the_schedule_in_the_admin_says_what_was_decided(hourly: Schedule, root: Client) -> None:
    decision = decided(advise(hourly, next_run_at=clock.now() + 5 * MINUTE))

    page = text(root, f"/admin/scheduler_app/schedule/{hourly.id}/change/")

    assert f"by the AI&#x27;s decision {decision.id}" in page
    assert f"/approvals/{decision.id}" in page
    assert text(root, "/admin/scheduler_app/schedule/add/")


def test_a_step_that_is_under_way_has_a_bar_to_this_moment(owner: User) -> None:
    execution = an_agents_execution(owner)
    a_cycle(execution)
    page = text(browser_of(owner), f"/executions/{execution.id}/cycle")

    assert 'aria-label="warm-us ran 3 s"' in page
