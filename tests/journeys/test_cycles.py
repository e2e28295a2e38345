"""The AI cycle on real processes: a scripted model, real endpoints, beat, worker, Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from agents_app.models import ModelCall, Tier
from executions_app import lifecycle
from executions_app.audit import SYSTEM
from executions_app.models import Event
from scheduler_app import schedules
from scheduler_app.models import Schedule, ScheduleDecision
from tests.fakes.endpoint_server import Does, Endpoints
from tests.fakes.model_script import empty, fails, in_prose, plan_step, says_json
from tests.fakes.model_server import ModelServer
from tests.journeys import ai
from tests.journeys.ai import NAMES, cycle_of, ends, plan, result, run
from tests.journeys.scenario import one, reaches, retries
from tests.processes import System

pytestmark = pytest.mark.journey


@pytest.fixture(scope="module")
def living_system(
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    endpoints: Endpoints,
    model: ModelServer,
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("cycle")
    with django_db_blocker.unblock(), ai.running(folder, endpoints, model) as system:
        yield system


@pytest.fixture(autouse=True)
def fresh(endpoints: Endpoints, model: ModelServer) -> None:
    ai.forget(endpoints, model)


def test_a_plan_of_the_model_is_carried_out_as_it_says(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    model.on(
        "plan",
        says_json(
            plan(
                plan_step("a", "alpha"),
                plan_step("b", "beta", "a"),
                plan_step("c", "gamma", "a"),
                plan_step("d", "delta", "b", "c"),
            )
        ),
    )

    done = reaches(system, run(), "completed")

    assert done.outcome == "ok"
    assert result(done)["summary"] == "All of it was done."
    assert result(done)["tier"] == Tier.MODEL
    order = [call.name for call in endpoints.calls()]
    assert order[0] == "alpha"
    assert set(order[1:3]) == {"beta", "gamma"}
    assert order[3:] == ["delta"]
    cycle = cycle_of(done.id)
    assert cycle.status == "completed"
    phases = set(ModelCall.objects.filter(cycle_id=cycle.id).values_list("phase", flat=True))
    assert phases == {"plan", "summarise"}
    calls = ModelCall.objects.filter(cycle_id=cycle.id)
    assert cycle.prompt_tokens == sum(call.prompt_tokens for call in calls) > 0
    told = Event.objects.filter(execution_id=done.id, type="execution:progress")
    percents = [event.data["percent"] for event in told.order_by("xid", "id")]
    assert percents == sorted(percents)
    assert percents[-1] == 100


@pytest.mark.parametrize(("strategy", "most"), [("sequential", 1), ("parallel", 2)])
def test_the_strategy_says_how_many_run_together(
    system: System, endpoints: Endpoints, model: ModelServer, strategy: str, most: int
) -> None:
    gate = threading.Event()
    for name in NAMES:
        endpoints.on(name, Does(delay_ms=150, gate=gate))
    steps = [plan_step(f"s{at}", name) for at, name in enumerate(NAMES)]
    model.on("plan", says_json(plan(*steps, strategy=strategy, concurrency=2)))

    execution = run()
    system.until(lambda: endpoints.most_at_once["all"] == most, what="so many are called")
    gate.set()

    done = reaches(system, execution, "completed")
    assert done.outcome == "ok"
    assert sorted(call.name for call in endpoints.calls()) == sorted(NAMES)
    assert endpoints.most_at_once["all"] == most


def test_dependents_of_a_failed_step_are_skipped_and_the_results_of_the_others_kept(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    endpoints.on("beta", Does(status=404))
    model.on(
        "plan",
        says_json(
            plan(plan_step("a", "alpha"), plan_step("b", "beta"), plan_step("c", "gamma", "b"))
        ),
    )

    done = reaches(system, run(), "completed")

    assert done.outcome == "partial"
    assert ends(done.id) == {"alpha": "completed", "beta": "failed", "gamma": "skipped"}
    by_name = {step["name"]: step for step in result(done)["steps"]}
    assert by_name["alpha"]["result"]["body"] == {"ok": True}
    assert "'beta'" in by_name["gamma"]["reason"]
    assert not endpoints.calls("gamma")


def test_a_failed_attempt_goes_on_with_what_is_left_and_calls_nothing_twice(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    endpoints.on("beta", Does(status=503), Does(status=503), Does(status=503), Does())
    critical = {**plan_step("b", "beta", "a"), "critical": True}
    model.on("plan", says_json(plan(plan_step("a", "alpha"), critical)))

    done = reaches(system, run(retry_policy=retries(3)), "completed")

    assert done.attempt == 2
    assert len(endpoints.calls("alpha")) == 1
    assert ModelCall.objects.filter(execution_id=done.id, phase="plan").count() == 1
    assert result(done)["steps"][1]["status"] == "completed"


def test_without_a_model_the_endpoints_are_called_all_the_same_and_it_is_said(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    model.on("plan", fails(401, "no"))

    done = reaches(system, run(), "completed")

    assert done.outcome == "degraded"
    assert result(done)["tier"] in {Tier.LAST_GOOD, Tier.DETERMINISTIC}
    assert [call.name for call in endpoints.calls()] == list(NAMES)
    assert "401" in result(done)["tier_reason"]


def test_an_answer_that_is_no_plan_is_repaired(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    good = plan(plan_step("a", "alpha"))
    model.on("plan", in_prose({"strategy": "later", "steps": []}), says_json(good))

    done = reaches(system, run(), "completed")

    assert done.outcome == "ok"
    repair = model.asked("plan")[-1]
    assert "later" in repair.prompt, repair.body
    malformed = ModelCall.objects.filter(execution_id=done.id, status="malformed")
    assert malformed.count() == 1
    assert len(endpoints.calls()) == 1


def test_an_endpoint_that_is_not_registered_is_never_called(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    model.on("plan", says_json(plan(plan_step("a", "alpha"), plan_step("x", "unregistered"))))

    done = reaches(system, run(), "completed")

    assert {call.name for call in endpoints.calls()} == {"alpha"}
    assert any("unregistered" in note for note in result(done)["notes"])


def test_a_cancelled_cycle_begins_nothing_more(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    gate = threading.Event()
    endpoints.on("beta", Does(gate=gate))
    steps = [plan_step(f"s{at}", name) for at, name in enumerate(NAMES)]
    model.on("plan", says_json(plan(*steps, strategy="sequential")))
    execution = run()
    system.until(lambda: endpoints.calls("beta"), what="the second step runs")

    lifecycle.cancel(one(execution))

    reaches(system, execution, "cancelled")
    gate.set()
    assert ends(execution) == {
        "alpha": "completed",
        "beta": "cancelled",
        "gamma": "cancelled",
        "delta": "cancelled",
        "epsilon": "cancelled",
    }
    assert not endpoints.calls("gamma")


def test_an_empty_answer_to_everything_leads_to_the_ladder(
    system: System, endpoints: Endpoints, model: ModelServer
) -> None:
    model.on("plan", empty())

    done = reaches(system, run(), "completed")

    assert done.outcome == "degraded"
    classes = ModelCall.objects.filter(execution_id=done.id, phase="plan")
    assert set(classes.values_list("malformed_class", flat=True)) == {"empty_response"}
    assert endpoints.calls()


def test_the_advice_of_the_model_moves_the_next_run_within_the_limits(
    system: System, model: ModelServer
) -> None:
    model.on("plan", says_json(plan(plan_step("a", "alpha"))))
    wanted = {"action": "interval", "interval_ms": 1_000, "reason": "much to do"}
    model.on("schedule", says_json({**ai.KEEP, **wanted}))
    limits = {"min_interval_ms": 7_200_000, "max_interval_ms": 86_400_000}
    own = ai.schedule(
        config={"autonomy": "auto", **limits},
        schedule_type="interval",
        schedule_config={"interval_ms": 3_600_000},
    )

    execution = schedules.trigger(own, actor=SYSTEM)

    done = reaches(system, execution, "completed")
    decision = system.until(
        lambda: ScheduleDecision.objects.filter(execution_id=done.id).first(), what="it is decided"
    )
    assert (decision.status, decision.source) == ("adopted", "model")
    after = Schedule.objects.get(id=own.id)
    assert after.next_run_at is not None
    assert own.next_run_at is not None
    assert after.next_run_at > own.next_run_at, "clamped to two hours, and so later than its own"
