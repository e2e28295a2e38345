"""What Prometheus is told, and who may ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from agents_app.models import CycleStage, CycleStatus, ModelCall, Tier
from config.metrics import Everything
from errors_app.models import Breaker, BreakerTransition
from executions_app import clock, ids, metrics
from executions_app.models import Execution
from executions_app.states import BreakerStatus, ExecutionStatus
from scheduler_app import system
from tests.agents_app.agents import make_agent, make_busy, make_cycle
from tests.errors_app.watched import copies
from tests.factories import ExecutionFactory, ScheduleFactory, UserFactory
from tests.rest import signed_in

pytestmark = pytest.mark.django_db
ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}|^\d+$")
Labels = frozenset[tuple[str, str]]


@pytest.fixture
def operator() -> APIClient:
    return signed_in(UserFactory.create(is_staff=True))


def scraped(client: APIClient) -> dict[str, dict[Labels, float]]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def of(**labels: str) -> Labels:
    return frozenset(labels.items())


def model_call(**changes: Any) -> None:
    words = {
        "id": ids.new(clock.now()),
        "provider": "p",
        "model": "small",
        "phase": "plan",
        "status": "ok",
        **changes,
    }
    ModelCall.objects.create(**words)


def test_metrics_are_closed_to_whoever_is_no_operator(client: APIClient) -> None:
    somebody = signed_in(UserFactory.create())

    answers = [client.get("/metrics"), somebody.get("/metrics")]

    assert [one.status_code for one in answers] == [401, 403]
    assert not any(b"cadenza_" in one.content for one in answers)


def test_executions_are_counted_by_state_and_queue(operator: APIClient) -> None:
    owner = UserFactory.create()
    for queue in ("high", "normal", "normal"):
        ExecutionFactory.create(owner=owner, priority=queue)
    ExecutionFactory.create(owner=owner, status=ExecutionStatus.RUNNING)

    found = scraped(operator)

    assert found["cadenza_executions"] == {
        of(status="queued", queue="high"): 1,
        of(status="queued", queue="normal"): 2,
        of(status="running", queue="normal"): 1,
    }
    assert set(found["cadenza_queue_oldest_seconds"]) == {of(queue="high"), of(queue="normal")}
    assert found["cadenza_executions_created_last_hour"][of(status="queued", outcome="")] == 3


def test_a_long_queue_hides_nothing_that_waits_in_another(
    operator: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_COUNTED", 10)
    now = clock.now()
    low = ExecutionFactory.create(priority="low")
    critical = ExecutionFactory.create(priority="critical")
    for one, minutes in ((low, 9), (critical, 3)):
        at = now - timedelta(minutes=minutes)
        Execution.objects.filter(id=one.id).update(queued_at=at, published_at=at)
    copies(low, number=50)

    found = scraped(operator)

    counted = found["cadenza_executions"]
    assert counted[of(status="queued", queue="critical")] == 1
    assert counted[of(status="queued", queue="low")] == 10
    oldest = found["cadenza_queue_oldest_seconds"]
    assert set(oldest) == {of(queue="critical"), of(queue="low")}
    assert 180 <= oldest[of(queue="critical")] < 540 <= oldest[of(queue="low")]


def test_schedules_say_how_they_fire_and_beat_how_it_keeps_up(operator: APIClient) -> None:
    schedule = ScheduleFactory.create()
    type(schedule).objects.filter(id=schedule.id).update(
        fired_count=7, success_count=5, failure_count=2, total_duration_ms=9500
    )
    system.note_tick(problem="", now=clock.now() - timedelta(seconds=3))

    found = scraped(operator)

    assert found["cadenza_schedules"][of(enabled="true")] == 1
    assert found["cadenza_fires_total"][of()] == 7
    assert found["cadenza_runs_succeeded_total"][of()] == 5
    assert found["cadenza_runs_failed_total"][of()] == 2
    assert found["cadenza_run_seconds_total"][of()] == 9.5
    assert found["cadenza_tick_age_seconds"][of()] == 3


def test_endpoints_show_their_breakers(operator: APIClient) -> None:
    now = clock.now()
    Breaker.objects.create(id=ids.new(now), key="http://here:80", seen_at=now)

    state = scraped(operator)["cadenza_breaker_state"]

    assert state[of(endpoint="http://here:80", state="closed")] == 1
    assert state[of(endpoint="http://here:80", state="open")] == 0


def test_changes_of_breakers_are_counted_by_the_state_that_they_led_to(
    operator: APIClient,
) -> None:
    now = clock.now()
    for to_state, at in (
        *[(BreakerStatus.OPEN, now)] * 2,
        (BreakerStatus.HALF_OPEN, now),
        (BreakerStatus.CLOSED, now - timedelta(hours=2)),
    ):
        BreakerTransition.objects.create(
            id=ids.new(at),
            key="http://here:80",
            from_state=BreakerStatus.CLOSED,
            to_state=to_state,
            reason="",
            failures=0,
            calls=0,
            at=at,
        )

    found = scraped(operator)["cadenza_breaker_transitions_last_hour"]

    assert found == {of(state="open"): 2, of(state="half_open"): 1, of(state="closed"): 0}


def test_models_show_tokens_and_cost_by_model_and_phase(operator: APIClient) -> None:
    for _ in range(2):
        model_call(prompt_tokens=100, completion_tokens=20, cost_usd=Decimal("0.01"))
    model_call(model="large", phase="schedule", prompt_tokens=7, latency_ms=1500)
    model_call(id=ids.new(clock.now() - timedelta(hours=2)), prompt_tokens=10_000)

    found = scraped(operator)

    plan, schedule = of(model="small", phase="plan"), of(model="large", phase="schedule")
    assert found["cadenza_model_prompt_tokens_last_hour"] == {plan: 200, schedule: 7}
    assert found["cadenza_model_completion_tokens_last_hour"][plan] == 40
    assert found["cadenza_model_cost_usd_last_hour"][plan] == 0.02
    assert found["cadenza_model_call_seconds_last_hour"][schedule] == 1.5


def test_malformed_answers_and_repairs_are_counted_by_phase(operator: APIClient) -> None:
    model_call(status="malformed", malformed_class="empty_response")
    model_call(status="ok", is_repair=True)
    model_call(status="malformed", malformed_class="schema_parse_error", phase="schedule")
    model_call(
        status="malformed", malformed_class="repair_failed", phase="schedule", is_repair=True
    )

    found = scraped(operator)

    plan, schedule = of(phase="plan"), of(phase="schedule")
    told = {
        name: found[f"cadenza_{name}_last_hour"]
        for name in (
            "malformed_responses",
            "repair_attempts",
            "repair_successes",
            "repair_failures",
        )
    }
    assert told == {
        "malformed_responses": {plan: 1, schedule: 2},
        "repair_attempts": {plan: 1, schedule: 1},
        "repair_successes": {plan: 1, schedule: 0},
        "repair_failures": {plan: 0, schedule: 1},
    }
    classes = found["cadenza_malformed_classes_last_hour"]
    assert classes[of(phase="schedule", malformed_class="repair_failed")] == 1


def test_agents_show_their_places_and_cycles_their_stages(operator: APIClient) -> None:
    make_busy(make_agent("one", max_concurrent=4), places=3)
    make_agent("off", enabled=False)
    make_cycle()
    for seconds in (1000, 3000):
        make_cycle(
            status=CycleStatus.COMPLETED,
            stage=CycleStage.DONE,
            tier=Tier.MODEL,
            timings={"plan": seconds, "schedule": 500},
        )

    found = scraped(operator)

    assert found["cadenza_agent_places_used"] == {of(agent="one"): 3, of(agent="off"): 0}
    assert found["cadenza_agent_places"][of(agent="one")] == 4
    assert found["cadenza_agent_up"] == {of(agent="one"): 1, of(agent="off"): 0}
    assert (found["cadenza_places"][of()], found["cadenza_places_used"][of()]) == (4, 3)
    assert found["cadenza_cycles"] == {of(stage="execute"): 3, of(stage="wait"): 1}
    ended = found["cadenza_cycles_ended_last_hour"]
    assert ended == {of(tier="model", status="completed"): 2}
    plan, whole = of(stage="plan"), of(stage="cycle")
    assert found["cadenza_cycle_stage_seconds_mean"][plan] == 2
    assert found["cadenza_cycle_stage_seconds_total"][plan] == 4
    assert found["cadenza_cycle_stage_seconds_last"][plan] == 3
    assert found["cadenza_cycle_stage_seconds_total"][whole] == 5


def test_no_label_is_an_id_and_every_name_is_one_of_ours(operator: APIClient) -> None:
    ScheduleFactory.create()
    make_busy(make_agent("one"), places=1)
    model_call(status="malformed", malformed_class="empty_response")

    found = scraped(operator)

    assert len(found) > 20
    assert all(re.fullmatch(r"cadenza_[a-z_]+", name) for name in found)
    values = {value for samples in found.values() for labels in samples for _, value in labels}
    assert not [one for one in values if ID.search(one)]


def test_a_scrape_costs_a_bounded_number_of_statements(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(5):
        make_busy(make_agent(f"agent-{number}"), places=1)
        ScheduleFactory.create()

    with django_assert_max_num_queries(20):
        families: Iterator[Any] = Everything().collect()
        assert len(list(families)) > 20
