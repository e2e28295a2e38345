"""What must not follow when a stage fails, or two processes want the same: on real processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest
from django.conf import settings
from kombu.pidbox import Mailbox
from pytest_django import DjangoDbBlocker

from agents_app.models import Cycle, ModelCall, Tier
from agents_app.tasks import carry_out_stage
from config.celery import app
from executions_app.models import Step
from scheduler_app.models import FireRecord, Schedule, ScheduleDecision
from tests.fakes.endpoint_server import endpoint_server
from tests.fakes.model_answers import ADVICE, plans_by_itself
from tests.fakes.model_script import Asked, Reply, fails, plan_step, says, says_json
from tests.fakes.model_server import model_server
from tests.journeys import ai, scenario, stories
from tests.journeys.ai import plan, result
from tests.journeys.stories import HOUR, Around, Story, Told, tells
from tests.processes import System

pytestmark = pytest.mark.journey

ENVIRONMENT: Final = {
    "MAX_REPAIR_ATTEMPTS": "1",
    "LLM_FIRST_TOKEN_SECONDS": "120",  # a model is kept waiting
    "LLM_TIMEOUT_SECONDS": "120",
}
WORKERS: Final = ("worker", "second")
DUPLICATES: Final = 20
GOOD: Final = plan(plan_step("a", "alpha"), plan_step("b", "beta", "a"))
NEEDY: Final = {
    "parameters_schema": {
        "type": "object",
        "properties": {"region": {"type": "string"}},
        "required": ["region"],
    }
}


@pytest.fixture(scope="module")
def around(
    django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Around]:
    folder = tmp_path_factory.mktemp("failures")
    with (
        endpoint_server() as endpoints,
        model_server(plans_by_itself) as model,
        django_db_blocker.unblock(),
        ai.running(folder, endpoints, model, threads=8, **ENVIRONMENT) as system,
    ):
        system.worker("second", threads=8)
        yield Around(system, endpoints, model)


@pytest.fixture
def system(around: Around) -> System:
    """Its logs are shown when a test fails; the stories of the other tests go on in it."""
    return around.system


def assert_next_fire_stands(told: Told) -> None:
    """It fired once, is due again when its rule says, and nobody has stopped it."""
    own = Schedule.objects.get(id=told.schedule.id)
    (fire,) = FireRecord.objects.filter(schedule_id=own.id)
    assert fire.reason == "dispatched"
    assert own.next_run_at == fire.nominal_at + HOUR
    assert (own.enabled, own.paused_until) == (True, None)


@tells(
    Story(
        name="garbled-advice",
        plan=[says_json(GOOD)],
        schedule=[says("in a while, I guess")],
        config={"autonomy": "auto", "fallback": "interval"},
        is_hourly=True,
    ),
    Story(
        name="no-advice",
        plan=[says_json(GOOD)],
        schedule=[fails(500, "out of order")],
        config={"autonomy": "auto", "fallback": "interval"},
        is_hourly=True,
    ),
)
def test_a_failed_schedule_stage_repeats_no_call_and_leaves_a_next_fire(told: Told) -> None:
    done = told.ends()

    decision = told.around.system.until(
        lambda: ScheduleDecision.objects.filter(execution_id=done.id).first(), what="it is decided"
    )
    assert told.called == ["alpha", "beta"]
    assert (done.outcome, done.attempt, told.cycle.tier) == ("ok", 1, Tier.MODEL)
    assert len(told.calls("plan")) == 1
    assert all(one.status != "ok" for one in told.calls("schedule"))
    assert any("did not say when to run next" in one for one in result(done)["notes"])
    assert decision.source == "fallback:interval"
    assert_next_fire_stands(told)


@tells(
    Story(
        name="no-plan",
        plan=[says("I would rather not")],
        endpoints=["needs-a-region"],
        registers={"needs-a-region": NEEDY},
        is_hourly=True,
    )
)
def test_a_plan_that_fails_on_every_tier_calls_nothing_and_leaves_a_next_fire(told: Told) -> None:
    done = told.ends()

    assert (done.outcome, told.cycle.tier) == ("degraded", Tier.BASELINE)
    assert not told.called
    assert "the model's answers cannot be used" in told.cycle.tier_reason
    assert_next_fire_stands(told)


@tells(
    Story(
        name="no-key",
        endpoints=["needs-a-place"],
        registers={"needs-a-place": NEEDY},
        has_address=False,
        is_hourly=True,
    )
)
def test_without_a_key_and_anything_to_call_it_fails_at_no_cost_and_leaves_a_next_fire(
    told: Told,
) -> None:
    failed = told.ends("failed")

    assert "has no key" in scenario.errors(failed.id)[0].message
    assert not told.calls(), "nothing was asked, and so nothing was spent"
    assert (told.cycle.prompt_tokens, told.cycle.tier) == (0, "")
    assert not told.called
    assert_next_fire_stands(told)


def test_of_two_workers_with_the_same_message_one_plans_and_one_advises(
    around: Around, system: System
) -> None:
    gates = {"plan": threading.Event(), "schedule": threading.Event()}
    come = {phase: threading.Event() for phase in gates}
    said = {"plan": says_json(GOOD), "schedule": says_json(ADVICE)}

    def waits(asked: Asked) -> Reply:
        come[asked.phase].set()
        gates[asked.phase].wait(stories.PATIENCE_SECONDS)
        return said[asked.phase]

    system.wait_ready()
    one = Story(name="wanted-twice", plan=[waits], schedule=[waits], config={"autonomy": "shadow"})
    told = stories.begin(one, around)
    try:
        for phase, gate in gates.items():
            system.until(come[phase].is_set, what=f"the model is asked for {phase}")
            before = stages_taken()
            system.until(
                partial(has_reached_both, told.cycle, before=before),
                what="both workers have the message of the stage, too",
            )
            gate.set()
    finally:
        for gate in gates.values():
            gate.set()

    done = told.ends()
    decided = partial(ScheduleDecision.objects.filter(execution_id=done.id).count)
    system.until(decided, what="it is decided")
    assert decided() == 1
    asked = ModelCall.objects.filter(execution_id=done.id).order_by("id")
    assert list(asked.values_list("phase", flat=True)) == ["plan", "summarise", "schedule"]
    assert [len(told.asked(phase)) for phase in gates] == [1, 1]
    steps = Step.objects.filter(execution_id=done.id).order_by("position")
    assert list(steps.values_list("name", "attempt")) == [("alpha", 1), ("beta", 1)]
    assert told.called == ["alpha", "beta"]


def has_reached_both(cycle: Cycle, *, before: dict[str, int]) -> bool:
    """Send the stage's message again, many times; whether each worker has taken one of them."""
    with app.connection_for_write(settings.REDIS_BROKER_URL) as broker:
        for _ in range(DUPLICATES):
            app.send_task(
                carry_out_stage.name,
                kwargs={"cycle_id": str(cycle.id)},
                queue=cycle.queue,
                connection=broker,
                ignore_result=True,
            )
    taken = stages_taken()
    return all(taken.get(name, 0) > before.get(name, 0) for name in WORKERS)


def stages_taken() -> dict[str, int]:
    """How many messages of stages each worker has taken, as it says itself."""
    with app.connection_for_write(settings.REDIS_BROKER_URL) as broker:
        mailbox = Mailbox(
            app.conf.control_exchange, type="fanout", accept=["json"], connection=broker
        )
        replies = mailbox.multi_call("stats", timeout=10, limit=len(WORKERS)) or []
    return {
        host.partition("@")[0]: told["total"].get(carry_out_stage.name, 0)
        for reply in replies
        for host, told in reply.items()
    }
